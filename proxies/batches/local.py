"""A batch done here and now, by processes of this command instead of the queue's workers."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Final

from django.db import connections

from proxies.batches import recovery
from proxies.batches.lifecycle import finish_if_done
from proxies.batches.slices import perform
from proxies.batches.work import Work
from proxies.holders import is_dead, this_holder
from proxies.memory import keep_freed_memory, watch_memory
from proxies.models import Batch, BatchItem

_LOOK_AGAIN: Final = 0.2


class HeldElsewhere(Exception):
    """Another command is at work on this batch."""


def take_over(batch: Batch) -> None:
    """Make this process the one that runs a local batch, and take back what its dead workers held.

    Raises:
        HeldElsewhere: the process that runs it is alive.
    """
    if batch.holder and batch.holder != this_holder() and not is_dead(batch.holder):
        host, pid, _ = batch.holder.rsplit(":", 2)
        if batch.state == Batch.State.RUNNING and host != this_holder().rsplit(":", 2)[0]:
            raise HeldElsewhere(f"{batch.job_id} is run by a command on {host}. Pause it there first.")
        if batch.state == Batch.State.RUNNING:
            raise HeldElsewhere(f"{batch.job_id} is run by process {pid}. Stop that one, or let it finish.")
    Batch.objects.filter(pk=batch.pk).update(holder=this_holder())
    batch.refresh_from_db()
    recovery.reclaim_dead(batch)


def run(batch: Batch, processes: int, watch: Callable[[], None]) -> None:
    """Work on ``batch`` with this many processes until nothing is left or it is no longer running.

    A worker that is killed is replaced, and the file that killed it thrice is set apart. ``watch`` is
    called a few times a second. A KeyboardInterrupt leaves by itself, with the workers ended: each
    finishes the file in hand first.
    """
    crew: list[BaseProcess] = []
    try:
        while _is_unfinished(batch):
            crew = [worker for worker in crew if worker.is_alive()]
            recovery.reclaim_dead(batch)
            while len(crew) < processes:
                crew.append(_hire(batch))
            _wait_for_news(crew, watch)
    finally:
        _dismiss(crew)
        recovery.reclaim_dead(batch)
        finish_if_done(batch)
        batch.refresh_from_db()
        watch()


def _hire(batch: Batch) -> BaseProcess:
    # A fork must not inherit an open connection: two processes would speak on one socket.
    connections.close_all()
    worker = multiprocessing.get_context("fork").Process(target=_labour, args=(batch.pk, os.getpid()))
    worker.start()
    return worker


def _wait_for_news(crew: list[BaseProcess], watch: Callable[[], None]) -> None:
    """Until some worker has ended: by itself when nothing is left, or by a signal."""
    while all(worker.is_alive() for worker in crew):
        watch()
        time.sleep(_LOOK_AGAIN)


def _dismiss(crew: list[BaseProcess]) -> None:
    for worker in crew:
        if worker.is_alive():
            worker.terminate()
    for worker in crew:
        worker.join()


def _labour(batch_id: int, employer: int) -> None:
    """The worker process: claim, perform, again; until nothing waits, or it is told to stop."""
    keep_freed_memory()
    watch_memory()
    stopping: list[int] = []
    # Ctrl-C reaches the whole foreground group; it is the employer who tells the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.append(number))

    def is_time_up() -> bool:
        return bool(stopping) or os.getppid() != employer

    batch = Batch.objects.get(pk=batch_id)
    while not is_time_up() and _is_unfinished(batch):
        work = Work(batch, is_time_up)
        perform(work)
        if not work.taken:
            time.sleep(_LOOK_AGAIN)


def _is_unfinished(batch: Batch) -> bool:
    running = Batch.objects.filter(pk=batch.pk, state=Batch.State.RUNNING).exists()
    return running and BatchItem.objects.filter(batch=batch).unfinished().exists()

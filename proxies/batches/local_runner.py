"""Run a batch in child processes of this command instead of the queue's workers."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Final

from django.db import connections
from django.db.models import Count, F, Q, Sum
from django.db.models.functions import Coalesce
from django.utils.timezone import now

from proxies.batches import recipes, recovery
from proxies.batches.claim import Claim
from proxies.batches.lifecycle import finish_if_done
from proxies.batches.runner import perform
from proxies.models import Batch, BatchItem
from proxies.processes.identity import in_words, is_here
from proxies.processes.liveness import liveness, this_holder
from proxies.processes.memory_guard import keep_freed_memory, watch_memory

logger = logging.getLogger(__name__)

_LOOK_AGAIN: Final = 0.2
# Seconds that workers get to stop before the user is informed that the command is waiting for them.
_SOON: Final = 1.0


class HeldElsewhere(Exception):
    """Another command is running this batch."""


def take_over(batch: Batch) -> None:
    """Make this process the holder of a local batch, and reclaim the items of its dead workers.

    Raises:
        HeldElsewhere: the process that runs it is alive, or another one has just taken it over.
    """
    if batch.state == Batch.State.RUNNING and _is_held(batch):
        what_to_do = "Stop it, or let it finish" if is_here(batch.holder) else "Pause it first"
        raise HeldElsewhere(f"{batch.job_id} is run by {in_words(batch.holder)}. {what_to_do}.")
    free = Batch.objects.filter(pk=batch.pk, holder=batch.holder, executor=batch.executor)
    is_ours = free.update(holder=this_holder())
    batch.refresh_from_db()
    if not is_ours:
        raise HeldElsewhere(f"{batch.job_id} was taken over by another process a moment ago.")
    recovery.reclaim_dead(batch)
    if changed := recipes.adopt(batch):
        logger.info("%d files of %s are made with the settings of this command.", changed, batch.job_id)


def _is_held(batch: Batch) -> bool:
    """Return whether another process runs the batch."""
    if not batch.holder or batch.holder == this_holder():
        return False
    is_running = liveness([batch.holder]).get(batch.holder)
    if is_running is None:
        # No heartbeat: an older version, or it ended days ago. Each started item renews its lease, so a
        # valid lease means that it is running.
        return batch.items.filter(state=BatchItem.State.RUNNING, lease_until__gt=now()).exists()
    return is_running


class CrewLost(Exception):
    """The workers die as soon as they start, without any progress."""


def run(
    batch: Batch,
    processes: int,
    watch: Callable[[], None],
    *,
    on_wait: Callable[[], None] = lambda: None,
    last_item: int | None = None,
) -> None:
    """Process ``batch`` with this many processes until no item is left or it is no longer running.

    With ``last_item``, only items up to this id are processed.

    A killed worker is replaced, and a file that kills workers three times is quarantined. ``watch`` is
    called a few times a second. A KeyboardInterrupt propagates after the workers have ended: each finishes
    its current file and waits for the answers to requests it has sent. A second one kills them. ``on_wait``
    is called once if the first one has to wait.

    Raises:
        CrewLost: the workers died several times in a row without any progress.
    """
    crew = Crew(batch, processes, last_item)
    try:
        while _is_unfinished(batch, last_item):
            crew.bury()
            recovery.reclaim_dead(batch)
            crew.require_progress()
            crew.hire()
            crew.wait_for_news(watch)
    finally:
        crew.dismiss(on_wait)
        recovery.reclaim_dead(batch)
        finish_if_done(batch)
        batch.refresh_from_db()
        watch()


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    last_words: Connection

    def cause_of_death(self) -> str:
        """Return the exception that ended the worker, else its exit status; empty if it ended normally."""
        code = self.process.exitcode
        if not code:
            return ""
        with suppress(EOFError, OSError):
            if self.last_words.poll():
                return str(self.last_words.recv())
        return f"signal {-code}" if code < 0 else f"exit status {code}"


class Crew:
    """The worker processes of one batch, each replaced when it dies as long as the batch makes progress."""

    # Per worker: this many deaths in a row, without a file done or an attempt counted, are no accident.
    MOST_DEATHS: Final = 3

    def __init__(self, batch: Batch, size: int, last_item: int | None) -> None:
        self._batch = batch
        self._last_item = last_item
        self._size = size
        self._workers: list[_Worker] = []
        self._deaths = 0
        self._cause = ""
        self._reached = self._progress()

    def hire(self) -> None:
        """Start workers until the crew is complete."""
        while len(self._workers) < self._size:
            self._workers.append(_hire(self._batch, self._last_item))

    def bury(self) -> None:
        """Remove the workers that have ended, and count deaths with their cause."""
        for worker in [worker for worker in self._workers if not worker.process.is_alive()]:
            self._workers.remove(worker)
            if cause := worker.cause_of_death():
                self._deaths += 1
                self._cause = cause
            worker.last_words.close()

    def require_progress(self) -> None:
        """Reset the death count if an item was done or an attempt counted since the last check.

        Raises:
            CrewLost: too many deaths in a row without progress.
        """
        if not self._deaths:
            return
        reached = self._progress()
        if reached != self._reached:
            self._reached, self._deaths = reached, 0
        elif self._deaths >= self.MOST_DEATHS * self._size:
            raise CrewLost(
                f"Its workers ended {self._deaths} times in a row without finishing a file ({self._cause}). "
                "Remove the cause, then run the command again."
            )

    def wait_for_news(self, watch: Callable[[], None]) -> None:
        """Wait until a worker has ended, either because nothing is left or by a signal."""
        while all(worker.process.is_alive() for worker in self._workers):
            watch()
            time.sleep(_LOOK_AGAIN)

    def dismiss(self, on_wait: Callable[[], None]) -> None:
        """Ask all workers to stop, and wait until they finish their items; a KeyboardInterrupt kills them."""
        processes = [worker.process for worker in self._workers]
        for process in processes:
            if process.is_alive():
                process.terminate()
        deadline = time.monotonic() + _SOON
        try:
            for process in processes:
                process.join(max(0.0, deadline - time.monotonic()))
            if any(process.is_alive() for process in processes):
                on_wait()
            for process in processes:
                process.join()
        except KeyboardInterrupt:
            for process in processes:
                process.kill()
                process.join()
            raise
        finally:
            for worker in self._workers:
                worker.last_words.close()

    def _progress(self) -> tuple[int, int]:
        """Return (items done, attempts counted): any progress of a worker changes one of them."""
        sums = BatchItem.objects.filter(batch=self._batch).aggregate(
            done=Count("pk", filter=Q(state=BatchItem.State.DONE)),
            failures=Coalesce(Sum(F("attempts") + F("transient_failures")), 0),
        )
        return sums["done"], sums["failures"]


def _hire(batch: Batch, last_item: int | None) -> _Worker:
    # A fork must not inherit an open connection: two processes would share one socket.
    connections.close_all()
    context = multiprocessing.get_context("fork")
    hears, says = context.Pipe(duplex=False)
    process = context.Process(target=_labour, args=(batch.pk, os.getpid(), last_item, says))
    process.start()
    says.close()
    return _Worker(process, hears)


def _labour(batch_id: int, employer: int, last_item: int | None, says: Connection) -> None:
    """Run a worker process until no item is left, and report an exception that ends it."""
    try:
        _claim(batch_id, employer, last_item)
    except Exception as fault:
        logger.exception("A worker of batch %s ended", batch_id)
        says.send(f"{type(fault).__name__}: {fault}")
        sys.exit(1)


def _claim(batch_id: int, employer: int, last_item: int | None) -> None:
    """Claim and perform items until none is left or this process must stop."""
    keep_freed_memory()
    watch_memory()
    stopping: list[int] = []
    # Ctrl-C and a closed terminal signal the whole foreground group, but only the parent may stop workers.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.append(number))

    def is_time_up() -> bool:
        return bool(stopping) or os.getppid() != employer

    batch = Batch.objects.get(pk=batch_id)
    while not is_time_up() and _is_unfinished(batch, last_item):
        claim = Claim(batch, is_time_up, is_stopping=is_time_up, last_item=last_item)
        perform(claim)
        if not claim.taken:
            time.sleep(_LOOK_AGAIN)


def _is_unfinished(batch: Batch, last_item: int | None) -> bool:
    running = Batch.objects.filter(pk=batch.pk, state=Batch.State.RUNNING).exists()
    items = BatchItem.objects.filter(batch=batch).unfinished()
    return running and (items if last_item is None else items.filter(pk__lte=last_item)).exists()

"""A supervisor's row in the database, written by a separate thread.

A database or broker that does not respond may block the thread, but the supervisor does not wait for it.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from django.db import connections
from django.utils.timezone import now

from proxies.batches import sweeper
from proxies.models import WorkerState
from proxies.processes import shared_settings
from proxies.processes.identity import runs_here, this_process
from proxies.queue.supervisor import State, Status

log = logging.getLogger(__name__)

INTERVAL: Final = 3.0  # s between two beats of a row
FORGOTTEN_AFTER: Final = timedelta(days=1)
SECONDS_BETWEEN_LOOKS: Final = 20.0  # between two recoveries of what dead processes hold
LAST_WORD: Final = 1.0  # s that a stop waits for the final status to be written


class DatabaseReport(threading.Thread):
    """Write `WorkerState` until it is closed.

    Args:
        tasks_waiting: gets the queue length from the broker; may raise anything.
    """

    def __init__(self, tasks_waiting: Callable[[], int]) -> None:
        # A daemon: a database that never responds must not keep the process from ending.
        super().__init__(name="worker-report", daemon=True)
        self._ask_broker = tasks_waiting
        self._status: Status | None = None
        self._written: Status | None = None
        self._started_at = now()
        self._tasks_waiting: int | None = None
        self._news = threading.Event()
        self._closing = False
        self._not_answering: set[str] = set()
        self._told: set[tuple[int, str]] = set()

    @property
    def tasks_waiting(self) -> int | None:
        """The number of tasks that no cluster had taken at the last check; None if that failed."""
        return self._tasks_waiting

    def say(self, status: Status) -> None:
        """Have `status` written soon; at once if it has changed."""
        changed = status != self._status
        self._status = status
        if changed:
            self._news.set()

    def close(self) -> None:
        """Write the last status, waiting at most `LAST_WORD` for it."""
        self._closing = True
        self._news.set()
        self.join(LAST_WORD)

    def run(self) -> None:
        """Write each change at once, and the time every few seconds."""
        self._attempt("database", self._forget_the_dead)
        looked_at = time.monotonic()
        while True:
            self._news.wait(INTERVAL)
            self._news.clear()
            last = self._closing
            self._tasks_waiting = None if last else self._attempt("broker", self._ask_broker)
            self._attempt("database", self._write)
            if last:
                return
            # After the row is written: of two workers that start at the same time, the later sees the other.
            self._attempt("database", self._compare_settings)
            if time.monotonic() > looked_at + SECONDS_BETWEEN_LOOKS:
                self._attempt("database", sweeper.recover_dead)
                looked_at = time.monotonic()

    def _attempt(self, what: str, act: Callable[[], int | None]) -> int | None:
        """Return what `act` returns; None if it raises. Log an error once until it has worked again."""
        try:
            result = act()
        except Exception as error:  # noqa: BLE001 (any database or broker error: the work continues without)
            if what not in self._not_answering:
                log.warning("The %s does not answer; the worker continues without it: %s", what, error)
            self._not_answering.add(what)
            return None
        finally:
            connections.close_all()
        if what in self._not_answering:
            log.info("The %s answers again.", what)
            self._not_answering.remove(what)
        return result

    def _write(self) -> None:
        status = self._status
        if status is None:
            return
        WorkerState.objects.update_or_create(
            process=this_process(),
            defaults={
                "host": socket.gethostname()[:128],
                "pid": os.getpid(),
                "cluster_pid": status.cluster_pid,
                "processes": status.processes,
                "started_at": self._started_at,
                "beat_at": now(),
                "last_task_at": status.control_dir.last_done_at,
                "state": status.state,
                "restarts": status.restarts,
                "message": status.message[:255],
                "recipes": shared_settings.recipes(),
                "settings": shared_settings.digests(),
            },
        )

    def _compare_settings(self) -> None:
        shared_settings.warn(WorkerState.objects.alive(), self._told)

    def _forget_the_dead(self) -> None:
        """Delete rows of ended supervisors: those of this machine at once, the others by age."""
        WorkerState.objects.filter(beat_at__lt=now() - FORGOTTEN_AFTER).delete()
        WorkerState.objects.filter(state=State.STOPPED, host=socket.gethostname()[:128]).delete()
        for row in WorkerState.objects.exclude(process=None):
            if runs_here(row.process or "") is False:
                row.delete()

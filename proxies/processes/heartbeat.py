"""The heartbeat of a process that holds leases: a row that shows other machines whether it is alive.

A thread writes it, because a process that renders for a minute or waits for a model's answer is alive. The
thread connects for each beat, so that no connection is held in between, and no process forks during one.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from django.db import Error, connections
from django.db.models.functions import Now

from proxies.conf import setting
from proxies.models import Heartbeat, WorkerState
from proxies.processes import shared_settings
from proxies.processes.control_dir import ControlDir
from proxies.processes.identity import this_process

logger = logging.getLogger(__name__)

INTERVAL: Final = 10.0
"""Seconds between two beats; `proxies.processes.liveness.SILENCE` spans several."""

FORGOTTEN_AFTER: Final = timedelta(days=7)


class _State:
    """The state of this process's heartbeat.

    Attributes:
        pid: the process whose thread runs; a fork has none.
        owed: releases that failed because the database did not respond.
    """

    pid = 0
    owed: deque[Callable[[], object]] = deque()


# Held during a beat: a fork would share its connection.
_beating = threading.Lock()
os.register_at_fork(
    before=_beating.acquire, after_in_parent=_beating.release, after_in_child=_beating.release
)


def ensure() -> None:
    """Start the thread, unless this process has one or the settings disable it."""
    if not setting("HEARTBEAT") or _State.pid == os.getpid():
        return
    with _beating:
        if _State.pid != os.getpid():
            _State.pid = os.getpid()
            threading.Thread(target=_run, name="heartbeat", daemon=True).start()


def owe(give_back: Callable[[], object]) -> None:
    """Call ``give_back`` in another thread once the database responds again. A late call must be harmless."""
    _State.owed.append(give_back)


def surely(give_back: Callable[[], object]) -> None:
    """Call ``give_back``; if the database does not respond, call it again as soon as it does.

    Raises:
        django.db.Error: the database does not respond now.
    """
    try:
        give_back()
    except Error:
        owe(give_back)
        raise


def beat() -> None:
    """Write the heartbeat, by the database's clock, and make the owed releases.

    Raises:
        django.db.Error: the database does not respond.
    """
    identity = this_process()
    if not Heartbeat.objects.filter(pk=identity).update(beat_at=Now()):
        Heartbeat.objects.bulk_create([Heartbeat(process=identity, beat_at=Now())], ignore_conflicts=True)
    while _State.owed:
        give_back = _State.owed[0]
        give_back()
        _State.owed.popleft()


def forget_old() -> None:
    """Delete the heartbeats of processes that ended long ago and hold nothing."""
    Heartbeat.objects.filter(beat_at__lt=Now() - FORGOTTEN_AFTER).delete()


def _run() -> None:
    answers = True
    reported: set[tuple[int, str]] = set()
    while True:
        with _beating:
            answers = _try_to_beat(reported, answered_before=answers)
        time.sleep(INTERVAL)


def _try_to_beat(reported: set[tuple[int, str]], *, answered_before: bool) -> bool:
    """Write the heartbeat and return whether that worked. Log each change once."""
    try:
        beat()
        if ControlDir.of_environment() is None:  # in a worker, its supervisor does it
            shared_settings.warn(WorkerState.objects.alive(), reported)
    except Error as error:
        if answered_before:
            logger.warning("No heartbeat, because the database does not answer: %s", error)
        return False
    except Exception:
        logger.exception("The heartbeat failed")
        return False
    finally:
        connections.close_all()
    if not answered_before:
        logger.info("The database answers again.")
    return True

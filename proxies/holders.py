"""Who holds a lease: a process, told apart from every other, so that a dead one is known as dead."""

from __future__ import annotations

import os
import socket
from functools import lru_cache

import psutil


@lru_cache(maxsize=4)
def _holder_of(pid: int) -> str:
    started = psutil.Process(pid).create_time()
    return f"{socket.gethostname()[:60]}:{pid}:{started:.2f}"


def this_holder() -> str:
    """This process, as ``host:pid:start time``: a pid that comes round again is another holder."""
    return _holder_of(os.getpid())


def is_dead(holder: str) -> bool:
    """Whether ``holder`` is known to have ended. Of processes of other machines nothing is known."""
    return _lives(holder) is False


def is_alive(holder: str) -> bool:
    """Whether ``holder`` is known to be running."""
    return _lives(holder) is True


def _lives(holder: str) -> bool | None:
    host, _, rest = holder.partition(":")
    pid, _, started = rest.partition(":")
    if host != socket.gethostname()[:60]:
        return None
    try:
        process = psutil.Process(int(pid))
        # A zombie holds a pid and nothing else.
        return f"{process.create_time():.2f}" == started and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

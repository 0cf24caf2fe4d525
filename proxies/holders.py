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
    """Whether ``holder`` is a process of this machine that has ended. Of other machines: unknown."""
    host, pid, started = holder.rsplit(":", 2)
    if host != socket.gethostname()[:60]:
        return False
    try:
        return f"{psutil.Process(int(pid)).create_time():.2f}" != started
    except psutil.NoSuchProcess:
        return True

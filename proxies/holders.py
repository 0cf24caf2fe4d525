"""Who holds a lease: a process, told apart from every other, so that a dead one is known as dead."""

from __future__ import annotations

import os
import socket
from functools import lru_cache
from pathlib import Path

import psutil

_TICKS_AT_START = 19
"""Place of the start time among the fields behind the name in ``/proc/PID/stat`` (proc(5): field 22)."""


@lru_cache(maxsize=4)
def holder_of(pid: int) -> str:
    """Process `pid` of this machine, as ``host:pid:start``: a pid that comes round again is another holder.

    Raises:
        psutil.NoSuchProcess: there is none.
    """
    return f"{_host()}:{pid}:{_started(pid)}"


def this_holder() -> str:
    """This process."""
    return holder_of(os.getpid())


def is_dead(holder: str) -> bool:
    """Whether ``holder`` is known to have ended. Of processes of other machines nothing is known."""
    return _lives(holder) is False


def is_alive(holder: str) -> bool:
    """Whether ``holder`` is known to be running."""
    return _lives(holder) is True


def _host() -> str:
    return socket.gethostname()[:60]


def _started(pid: int) -> str:
    """When it started: by /proc, where there is one, in ticks that setting a clock leaves alone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return f"{psutil.Process(pid).create_time():.2f}"
    return fields[_TICKS_AT_START]


def _lives(holder: str) -> bool | None:
    host, _, rest = holder.partition(":")
    pid, _, started = rest.partition(":")
    if host != _host():
        return None
    try:
        # A zombie holds a pid and nothing else.
        return _started(int(pid)) == started and psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

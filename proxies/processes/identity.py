"""The identity of processes across machines and containers, and whether one on this machine runs."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import tempfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

import psutil

_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
_PID_NAMESPACE: Final = "/proc/self/ns/pid"
_TICKS_AT_START: Final = 19
"""Index of the start time among the fields after the name in ``/proc/PID/stat`` (proc(5): field 22)."""


@lru_cache(maxsize=4)
def identity_of(pid: int) -> str:
    """Return the identity of process `pid` on this machine: ``host:space:pid:start``.

    ``space`` is the scope in which the pid is valid: one PID namespace in one boot of a machine. The host
    name is for people; two containers may share it. The start time distinguishes processes that reuse a pid.

    Raises:
        psutil.NoSuchProcess: there is no such process.
    """
    return f"{host()}:{_space(os.getpid())}:{pid}:{_started(pid)}"


def this_process() -> str:
    """Return the identity of this process."""
    return identity_of(os.getpid())


def host() -> str:
    """Return the host name that identities start with."""
    return socket.gethostname()[:60]


def is_here(identity: str) -> bool:
    """Return whether the process is in our PID namespace, so that we can check whether it runs."""
    return _parts(identity)[0] == _space(os.getpid())


def runs_here(identity: str) -> bool | None:
    """Return whether the process runs; None for one on another machine or in another container or version."""
    space, pid, started = _parts(identity)
    if space != _space(os.getpid()):
        return None
    try:
        # A zombie keeps its pid and can do nothing.
        return _started(pid) == started and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def in_words(identity: str) -> str:
    """Return the identity for people: ``process 12 on db-3``."""
    name, _, rest = identity.partition(":")
    pid = rest.split(":")[-2] if ":" in rest else rest
    return f"process {pid} on {name}"


def _parts(identity: str) -> tuple[str, int, str]:
    """Return (space, pid, start time); the space is empty if another version wrote the identity."""
    parts = identity.split(":")
    if len(parts) != 4 or not parts[2].isdecimal():
        return "", 0, ""
    return parts[1], int(parts[2]), parts[3]


@lru_cache(maxsize=1)
def _space(own_pid: int) -> str:
    try:
        boot, namespace = Path(_BOOT_ID).read_text().strip(), Path(_PID_NAMESPACE).stat().st_ino
        # In a new namespace the old /proc may still be mounted, where our pids belong to other processes.
        is_ours = Path("/proc/self").readlink().name == str(own_pid)
    except OSError:
        return _short(_machine_file())
    return _short(f"{boot} {namespace}" if is_ours else secrets.token_hex())


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _machine_file() -> str:
    """Return a random id that the processes of one user on this machine share, where there is no /proc."""
    path = Path(tempfile.gettempdir()) / f"novaproxy-machine-{os.getuid()}"
    with suppress(FileExistsError):
        # Linked once it is complete, so that no process reads a partial file.
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(secrets.token_hex())
        try:
            os.link(draft, path)
        finally:
            draft.unlink()
    return path.read_text()


def _started(pid: int) -> str:
    """Return the start time, from /proc in clock ticks, because changing the clock does not affect those."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return f"{psutil.Process(pid).create_time():.2f}"
    return fields[_TICKS_AT_START]

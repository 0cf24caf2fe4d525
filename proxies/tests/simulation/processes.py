"""Simulated processes for the code under test: forks, signals, pids and /proc."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any
from unittest import mock

import psutil

from proxies.tests.simulation import present
from proxies.tests.simulation.scheduler import Killed, Process

_real_pid = os.getpid()


class Child:
    """Replacement for a `multiprocessing` process."""

    def __init__(self, target: Callable[..., Any], args: tuple[Any, ...] = (), **options: Any) -> None:
        self._target, self._arguments = target, args
        self._process: Process | None = None

    def start(self) -> None:
        world, parent = present.get(), present.process()
        assert parent is not None
        world.point("fork")
        name = f"{parent.name}.child{len(world.processes)}"
        self._process = world.spawn(name, parent.machine, lambda: self._target(*self._arguments), parent)
        self._process.has_other_settings = parent.has_other_settings

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def exitcode(self) -> int | None:
        return self._process.exitcode if self._process else None

    def is_alive(self) -> bool:
        return self._process is not None and self._process.alive

    def terminate(self) -> None:
        if self._process is not None:
            present.get().point("terminate")
            present.get().send(self._process, signal.SIGTERM)

    def join(self, timeout: float | None = None) -> None:
        if self.is_alive():
            present.get().block(lambda: not self.is_alive(), timeout)


class PipeEnd:
    """One end of a pipe between two processes."""

    def __init__(self, messages: deque[Any]) -> None:
        self._messages = messages

    def send(self, message: Any) -> None:
        present.point("pipe")
        self._messages.append(message)

    def recv(self) -> Any:
        if not self._messages:
            raise EOFError
        return self._messages.popleft()

    def poll(self, timeout: float = 0.0) -> bool:
        return bool(self._messages)

    def close(self) -> None:
        """Do nothing: there is nothing to free."""


class Context:
    """Replacement for `multiprocessing.get_context`."""

    Process = Child

    @staticmethod
    def Pipe(duplex: bool = True) -> tuple[PipeEnd, PipeEnd]:  # noqa: N802 - multiprocessing's name
        messages: deque[Any] = deque()
        return PipeEnd(messages), PipeEnd(messages)


class ProcStat:
    """What psutil reports about a simulated process."""

    def __init__(self, pid: int | None = None) -> None:
        found = _found(pid)
        if found is None:
            raise psutil.NoSuchProcess(pid or 0)
        self._process = found

    def create_time(self) -> float:
        return float(self._process.started)

    def status(self) -> str:
        return str(psutil.STATUS_RUNNING)


class ProcPath:
    """The few files of /proc that identify a process."""

    def __init__(self, path: Any) -> None:
        self._path = str(path)

    def read_text(self) -> str:
        process = present.process()
        if self._path.endswith("boot_id"):
            return f"boot of {process.machine.space // 10}" if process else "boot"
        found = _found(int(self._path.split("/")[2]))
        if found is None:
            raise FileNotFoundError(self._path)
        return f"{found.pid} (python) S {'0 ' * 18}{found.started}"

    def stat(self) -> Any:
        process = present.process()
        return SimpleNamespace(st_ino=process.machine.space if process else 0)

    def readlink(self) -> Any:
        return SimpleNamespace(name=str(_getpid()))


def _found(pid: int | None) -> Process | None:
    """Return the living process with that pid on the caller's machine."""
    process = present.process()
    if process is None:
        return None
    if not process.alive:
        raise Killed
    found = process.machine.processes.get(pid or process.pid)
    return found if found is not None and found.alive else None


def _getpid() -> int:
    process = present.process()
    return process.pid if process else _real_pid


def _getppid() -> int:
    process = present.process()
    return process.parent_pid if process else 1


def _kill(pid: int, number: int) -> None:
    found = _found(pid)
    if found is None:
        raise ProcessLookupError(pid)
    present.get().send(found, number)


def _set_handler(number: int, handler: Any) -> Any:
    process = present.process()
    if process is None:
        return None
    before = process.handlers.get(number)
    process.handlers[number] = handler
    return before


def _gethostname() -> str:
    process = present.process()
    return process.machine.hostname if process else "simulation"


def _stop_is_asked() -> bool:
    process = present.process()
    return process is not None and process.is_stopping


def install(patches: ExitStack) -> None:
    """Have the code under test see simulated processes."""
    from proxies.batches import local_runner
    from proxies.processes import identity, liveness

    seen_psutil = SimpleNamespace(
        Process=ProcStat, NoSuchProcess=psutil.NoSuchProcess, STATUS_ZOMBIE=psutil.STATUS_ZOMBIE
    )
    for module, name, value in (
        (os, "getpid", _getpid),
        (os, "getppid", _getppid),
        (os, "kill", _kill),
        (signal, "signal", _set_handler),
        (socket, "gethostname", _gethostname),
        (multiprocessing, "get_context", lambda method=None: Context()),
        # A poll every 0.2 s would fill a run with nothing else.
        (local_runner, "_LOOK_AGAIN", 5.0),
        (identity, "Path", ProcPath),
        (identity, "psutil", seen_psutil),
    ):
        patches.enter_context(mock.patch.object(module, name, value))
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("proxies.batches") and hasattr(module, "stop_is_asked"):
            patches.enter_context(mock.patch.object(module, "stop_is_asked", _stop_is_asked))
    for identities in (liveness, identity):
        for name, value in list(vars(identities).items()):
            if hasattr(value, "cache_clear"):  # cached per pid; but each process has its own memory
                patches.enter_context(mock.patch.object(identities, name, value.__wrapped__))

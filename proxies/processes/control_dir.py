"""The control directory: a few small files through which a supervisor and its cluster communicate.

Files need no thread, no connection and no lock that could be lost with its holder. Each task appends one
byte, and the file size is the count.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

# Environment variable with the folder's path. All processes of the cluster inherit it, which marks them.
VARIABLE: Final = "NOVAPROXY_WORKER_RUN"

TAKEN: Final = "taken"
DONE: Final = "done"
DEATHS: Final = "deaths"
SENTINEL: Final = "sentinel"
STOP: Final = "stop"
# Followed by the pid of a process that waits for answers.
AWAITED: Final = "awaited-"


@dataclass(frozen=True, slots=True)
class ControlDir:
    """One cluster's control directory, named after the supervisor's identity.

    Attributes:
        folder: its path; the supervisor creates it, empties it before each start, and removes it.
    """

    folder: Path

    @classmethod
    def of_environment(cls) -> ControlDir | None:
        """Return the control directory of this process's cluster; None outside a cluster."""
        folder = os.environ.get(VARIABLE)
        return cls(Path(folder)) if folder else None

    @property
    def supervisor(self) -> str:
        """The supervisor's identity."""
        return self.folder.name

    @property
    def supervisor_pid(self) -> int:
        return int(self.supervisor.rsplit(":", 2)[1])

    # -- Written by the supervisor --

    def reset(self) -> None:
        """Create the folder, or reset it to the state before a cluster starts."""
        self.remove()
        self.folder.mkdir(parents=True)
        for name in (TAKEN, DONE, DEATHS, SENTINEL):
            (self.folder / name).touch()

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask_to_stop(self) -> None:
        """Ask the running ticks to put back the items they have not started. See `stop_is_asked`."""
        (self.folder / STOP).touch()

    # -- Written by the cluster --

    def note_sentinel(self, pid: int) -> None:
        """Record that the sentinel, which monitors all other processes, has started."""
        self._append(SENTINEL, str(pid).encode())

    def note_taken(self, count: int) -> None:
        """Record that the pusher has taken `count` more tasks from the broker."""
        self._append(TAKEN, b"." * count)

    def note_done(self) -> None:
        """Record that a task's result has reached the monitor, or never will."""
        self._append(DONE, b".")

    def note_death(self, message: str) -> None:
        """Record that a signal killed a process of the cluster."""
        self._append(DEATHS, f"{message}\n".encode())

    def note_awaited(self, *, is_awaited: bool) -> None:
        """Record that this process starts or stops waiting for answers that may be billed."""
        mark = self.folder / f"{AWAITED}{os.getpid()}"
        with suppress(FileNotFoundError):
            if is_awaited:
                mark.touch()
            else:
                mark.unlink()

    # -- Read --

    @property
    def done(self) -> int:
        """The number of tasks that this cluster has finished since its start."""
        return self._size(DONE)

    @property
    def in_hand(self) -> int:
        """The number of tasks that it has taken and not finished."""
        return max(self._size(TAKEN) - self._size(DONE), 0)

    @property
    def last_done_at(self) -> datetime | None:
        """When it last finished a task."""
        if not self.done:
            return None
        return datetime.fromtimestamp((self.folder / DONE).stat().st_mtime, UTC)

    @property
    def deaths(self) -> str:
        """The sudden deaths of processes, one line each; empty if there were none."""
        return self._text(DEATHS)

    @property
    def sentinel_pid(self) -> int | None:
        """The pid of the sentinel, which monitors all other processes; None until it has started."""
        pid = self._text(SENTINEL)
        return int(pid) if pid else None

    @property
    def awaiting(self) -> list[int]:
        """The pids of the processes that, by their last record, are waiting for answers."""
        return [int(mark.name.removeprefix(AWAITED)) for mark in self.folder.glob(f"{AWAITED}*")]

    @property
    def stop_is_asked(self) -> bool:
        return (self.folder / STOP).exists()

    def _append(self, name: str, content: bytes) -> None:
        # Without O_CREAT, so that a file in a removed folder is not recreated.
        with suppress(FileNotFoundError):
            descriptor = os.open(self.folder / name, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(descriptor, content)
            finally:
                os.close(descriptor)

    def _text(self, name: str) -> str:
        with suppress(FileNotFoundError):
            return (self.folder / name).read_text().strip()
        return ""

    def _size(self, name: str) -> int:
        with suppress(FileNotFoundError):
            return (self.folder / name).stat().st_size
        return 0


def stop_is_asked() -> bool:
    """Return whether this process's worker is being stopped; False outside a worker.

    A tick checks this between two items, so that a stop waits only for the current image. Takes a few
    microseconds.
    """
    control_dir = ControlDir.of_environment()
    return control_dir is not None and control_dir.stop_is_asked


@contextmanager
def answers_awaited() -> Iterator[None]:
    """Request more time from the supervisor if a stop comes during this block; no effect outside a worker."""
    control_dir = ControlDir.of_environment()
    if control_dir is None:
        yield
        return
    control_dir.note_awaited(is_awaited=True)
    try:
        yield
    finally:
        control_dir.note_awaited(is_awaited=False)

"""What passes between the supervisor and the cluster in its care: a folder with a few small files.

Files, because they need no thread, no connection and no lock that could die with its holder: one byte is
appended for each task, and the size is the count.
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

# Names the folder to the cluster. It also marks the cluster's processes: each inherits it.
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
    """One cluster's folder, named after the supervisor's `proxies.processes.identity.this_process`.

    Attributes:
        folder: its path; the supervisor makes it, empties it before each start, and removes it.
    """

    folder: Path

    @classmethod
    def of_environment(cls) -> ControlDir | None:
        """Return that of the cluster which this process belongs to, if it does to one."""
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
        """Make the folder as it is before a cluster has started."""
        self.remove()
        self.folder.mkdir(parents=True)
        for name in (TAKEN, DONE, DEATHS, SENTINEL):
            (self.folder / name).touch()

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask_to_stop(self) -> None:
        """Tell the slices that run to put down what they have not begun. See `stop_is_asked`."""
        (self.folder / STOP).touch()

    # -- Written by the cluster --

    def note_sentinel(self, pid: int) -> None:
        """The process that guards all others has started."""
        self._append(SENTINEL, str(pid).encode())

    def note_taken(self, count: int) -> None:
        """The pusher has `count` tasks more from the broker."""
        self._append(TAKEN, b"." * count)

    def note_done(self) -> None:
        """A task's result has gone the whole way, or will never come."""
        self._append(DONE, b".")

    def note_death(self, message: str) -> None:
        """A process of the cluster has died by a signal."""
        self._append(DEATHS, f"{message}\n".encode())

    def note_awaited(self, *, is_awaited: bool) -> None:
        """This process begins, or ends, to wait for answers that may be billed."""
        mark = self.folder / f"{AWAITED}{os.getpid()}"
        with suppress(FileNotFoundError):
            if is_awaited:
                mark.touch()
            else:
                mark.unlink()

    # -- Read --

    @property
    def done(self) -> int:
        """How many tasks this cluster has finished since its start."""
        return self._size(DONE)

    @property
    def in_hand(self) -> int:
        """How many tasks it has taken and not finished."""
        return max(self._size(TAKEN) - self._size(DONE), 0)

    @property
    def last_done_at(self) -> datetime | None:
        """When it last finished one."""
        if not self.done:
            return None
        return datetime.fromtimestamp((self.folder / DONE).stat().st_mtime, UTC)

    @property
    def deaths(self) -> str:
        """What died suddenly, one line each; empty where nothing did."""
        return self._text(DEATHS)

    @property
    def sentinel_pid(self) -> int | None:
        """The process that guards all others; None until it has started."""
        pid = self._text(SENTINEL)
        return int(pid) if pid else None

    @property
    def awaiting(self) -> list[int]:
        """The pids of the processes that waited for answers when they were last heard of."""
        return [int(mark.name.removeprefix(AWAITED)) for mark in self.folder.glob(f"{AWAITED}*")]

    @property
    def stop_is_asked(self) -> bool:
        return (self.folder / STOP).exists()

    def _append(self, name: str, content: bytes) -> None:
        # Without O_CREAT: a folder that its supervisor has removed does not come back.
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
    """Say whether the worker that this process belongs to is being stopped; false outside a worker.

    For a slice to look at between two items, so that a stop waits for the picture in hand and no longer.
    It costs some microseconds.
    """
    control_dir = ControlDir.of_environment()
    return control_dir is not None and control_dir.stop_is_asked


@contextmanager
def answers_awaited() -> Iterator[None]:
    """Have the supervisor give this process more time, should it stop meanwhile; nothing outside a worker."""
    control_dir = ControlDir.of_environment()
    if control_dir is None:
        yield
        return
    control_dir.note_awaited(is_awaited=True)
    try:
        yield
    finally:
        control_dir.note_awaited(is_awaited=False)

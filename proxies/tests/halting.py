"""Halt worker processes at chosen places, so that a test can kill or overtake them there.

The test (`Halts`) and the processes (`watch`, called by `novaproxy_site.tests.halting_settings`) communicate
through a folder, in which ``wanted`` names a place. A process that reaches it writes a file named after its
pid, and continues when the place is no longer wanted, when its worker is asked to stop, or when it can take
a pass.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
from botocore.client import BaseClient
from django.db.backends.base.base import BaseDatabaseWrapper
from PIL import ImageFile

from novaproxy_site.tests.installation import Installation, wait_for
from proxies.processes.control_dir import stop_is_asked

VARIABLE: Final = "NOVAPROXY_TEST_HALTS"

# Inside the decoder; the proxy durable in a temporary file (on S3: about to be sent); under its name, but
# not recorded; recorded, but not committed.
DECODE, PUT, STORED, COMMIT = "decode", "put", "stored", "commit"
# Not a place to halt at: from now on the storage stores each proxy, but reports a failure.
STORAGE_FAILS: Final = "storage-fails"


class Halts:
    """The test's side. Workers and commands that the installation starts from now on halt on request."""

    def __init__(self, installation: Installation) -> None:
        self._folder = installation.folder / "halts"
        self._folder.mkdir()
        self._wanted = ""
        installation.environment |= {
            "DJANGO_SETTINGS_MODULE": "novaproxy_site.tests.halting_settings",
            VARIABLE: str(self._folder),
        }

    @contextmanager
    def at(self, place: str) -> Iterator[psutil.Process]:
        """Have every process halt at ``place`` during the block; yield the first that reaches it."""
        with self.wanting(place):
            yield self.first(place)

    @contextmanager
    def wanting(self, place: str) -> Iterator[None]:
        """Like `at`, but without waiting for a process. Inside another such block, replaces its place."""
        before = self._wanted
        self._want(place)
        try:
            yield
        finally:
            self._want(before)

    def first(self, place: str) -> psutil.Process:
        """Wait for a running process to halt at ``place``."""

        def standing() -> list[psutil.Process]:
            pids = [int(mark.name.rpartition("-")[2]) for mark in self._folder.glob(f"at-{place}-*")]
            return [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]

        found: list[psutil.Process] = wait_for(standing, seconds=180, what=f"a process to be at {place}")
        return found[0]

    def let_pass(self, count: int) -> None:
        """Let ``count`` processes, or one process ``count`` times, continue from the current place."""
        for number in range(count):
            (self._folder / f"pass-{number}").touch()

    def _want(self, place: str) -> None:
        for left in [*self._folder.glob("at-*"), *self._folder.glob("pass-*")]:
            left.unlink(missing_ok=True)
        self._wanted = place
        aside = self._folder / "wanted.new"
        aside.write_text(place)
        aside.replace(self._folder / "wanted")


def watch() -> None:
    """The process's side: add the places to its decoders, its storage and its database."""
    folder = Path(os.environ[VARIABLE])

    def wanted() -> str:
        try:
            return (folder / "wanted").read_text()
        except FileNotFoundError:
            return ""

    def halt(place: str) -> None:
        mark = folder / f"at-{place}-{os.getpid()}"
        while wanted() == place and not stop_is_asked() and not _take_a_pass(folder):
            mark.touch()
            time.sleep(0.02)
        mark.unlink(missing_ok=True)

    _halt_in_decoders(halt)
    _halt_in_folders(halt, wanted)
    _halt_in_buckets(halt)
    _halt_in_commits(halt)


def _take_a_pass(folder: Path) -> bool:
    for ticket in folder.glob("pass-*"):
        try:
            ticket.unlink()
        except FileNotFoundError:  # another process was faster
            continue
        return True
    return False


def _halt_in_decoders(halt: Callable[[str], None]) -> None:
    prepare = ImageFile.ImageFile.load_prepare

    def load_prepare(self: ImageFile.ImageFile) -> None:
        prepare(self)
        halt(DECODE)

    ImageFile.ImageFile.load_prepare = load_prepare  # type: ignore[method-assign]


def _halt_in_folders(halt: Callable[[str], None], wanted: Callable[[], str]) -> None:
    replace, remove = os.replace, os.remove

    def halting_replace(source: Any, destination: Any, **options: Any) -> None:
        if not _is_proxy(destination):
            replace(source, destination, **options)
            return
        halt(PUT)
        replace(source, destination, **options)
        halt(STORED)
        if wanted() == STORAGE_FAILS:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(destination))

    def failing_remove(path: Any, **options: Any) -> None:
        if _is_proxy(path) and wanted() == STORAGE_FAILS:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        remove(path, **options)

    os.replace, os.remove = halting_replace, failing_remove  # type: ignore[assignment]


def _halt_in_buckets(halt: Callable[[str], None]) -> None:
    call = BaseClient._make_api_call  # type: ignore[attr-defined]

    def halting_call(self: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        puts_proxy = operation == "PutObject" and _is_proxy(parameters["Key"])
        if puts_proxy:
            halt(PUT)
        answer = call(self, operation, parameters)
        if puts_proxy:
            halt(STORED)
        return answer

    BaseClient._make_api_call = halting_call  # type: ignore[attr-defined]


def _is_proxy(path: Any) -> bool:
    return "/proxy_image/" in os.fspath(path)


def _halt_in_commits(halt: Callable[[str], None]) -> None:
    commit = BaseDatabaseWrapper.commit

    def halting_commit(self: BaseDatabaseWrapper) -> None:
        if _is_recording():
            halt(COMMIT)
        commit(self)

    BaseDatabaseWrapper.commit = halting_commit  # type: ignore[method-assign]


def _is_recording() -> bool:
    """Return whether this commit is the one that records a proxy."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_qualname == "ImageProxyService.finish":
            return True
    return False

"""Files in a folder, each written whole and durably, under a name that it gets in one step."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Final, cast

from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage

from media_files.errors import MediaError, SourceMissing
from media_files.shortage import DISK_FULL, MACHINE_LIMITS, error_class
from media_files.storage.base import OCTETS, Found, MediaStorage, Stored, byte_chunks

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MISSING: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR})
NOT_ALLOWED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_ADVICE: Final = {
    DISK_FULL: "Free some space on that disk or raise the quota; work then resumes automatically.",
    MACHINE_LIMITS: "Close other programs, or raise this process's limits on open files and memory.",
    NOT_ALLOWED: "Give the user that runs NovaProxy the right to read and write there.",
    frozenset({errno.ENAMETOOLONG}): "Use a shorter name.",
    frozenset({errno.ENOENT}): "The folder is missing: mount its disk or correct the folder in the settings.",
    frozenset({errno.ENOTDIR}): "There is a file where a folder is needed: move it away.",
}
# What link() answers where the file system knows no hard links (FAT, some network shares).
NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class LocalStorage(MediaStorage, FileSystemStorage):
    """Files in a folder, each written aside, made durable, and then moved to its name in one step.

    Django's own storage writes straight to the final name: with ``allow_overwrite`` it truncates the file
    that readers may have open, without it the second write of a name goes to another name. Neither lets a
    proxy be replaced safely, so only ``_save``'s choice of a free name is kept.
    """

    # One folder for all writes in progress: on the file system of their destination, which os.replace
    # needs, yet out of sight of whoever lists or copies a folder of proxies.
    INCOMING: ClassVar[str] = ".incoming"

    @property
    def label(self) -> str:
        """The folder's path."""
        return f"the folder {self.location}"

    @property
    def setting(self) -> str:
        """The setting of the folder."""
        return "the storage's folder (NOVAPROXY_DATA_DIR, or the storage's own _FOLDER)"

    def put(self, name: str, content: bytes | BinaryIO, *, content_type: str = OCTETS) -> Stored:
        """Write `content` aside and move it over `name`. The content type is not kept."""
        path = self._path(name)
        with self._failures("write", name):
            size = self._write(path, byte_chunks(content), os.replace)
        return Stored(name=name, bytes=size)

    def fetch(self, name: str, *, etag: str = "", version: str = "") -> BinaryIO:
        """Open the file itself. A folder keeps no ETags and no versions, so neither is looked at."""
        path = self._path(name)
        with self._failures("open", name):
            return cast("BinaryIO", io.BufferedReader(_LocalFile(path, partial(self._failure, name))))

    def stat(self, name: str) -> Stored:
        """Ask the file system for the size."""
        path = self._path(name)
        with self._failures("look up", name):
            if not path.is_file():
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            return Stored(name=name, bytes=path.stat().st_size)

    def sweep_temporaries(self, older_than: timedelta) -> int:
        """Remove files in the folder of writes in progress that nobody wrote to for so long."""
        swept = 0
        for temporary in self.temporaries(older_than):
            with self._failures("sweep", temporary.name):
                # Another sweeper may take the file away in between.
                (Path(self.location) / temporary.name).unlink(missing_ok=True)
                swept += 1
        return swept

    def temporaries(self, older_than: timedelta) -> Iterator[Found]:
        """List files in the folder of writes in progress that nobody has written to for so long."""
        deadline = time.time() - older_than.total_seconds()
        with self._failures("sweep", self.INCOMING):
            for temporary in self._incoming.glob("*"):
                # Another sweeper, or the writer itself, may take the file away in between.
                with suppress(FileNotFoundError):
                    status = temporary.stat()
                    if status.st_mtime <= deadline and not _is_being_written(temporary):
                        yield Found(f"{self.INCOMING}/{temporary.name}", status.st_size, status.st_mtime)

    def walk(self, prefix: str) -> Iterator[Found]:
        """List entry by entry, however many a folder has. What is deleted meanwhile is left out."""
        with self._failures("list", prefix):
            yield from self._walk(self._path(prefix))

    def _walk(self, folder: Path) -> Iterator[Found]:
        with suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from self._walk(Path(entry.path))
                    continue
                with suppress(FileNotFoundError):
                    status = entry.stat()
                    name = Path(entry.path).relative_to(self.location).as_posix()
                    yield Found(name, status.st_size, status.st_mtime)

    def size(self, name: str) -> int:
        """Return the file's bytes."""
        return self.stat(name).bytes

    def delete(self, name: str) -> None:
        """Remove the file; one that is gone already is no error."""
        self._path(name)
        with self._failures("delete", name):
            super().delete(name)

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        """List folders and files, without the folder of writes in progress."""
        folders, files = super().listdir(path)
        return [name for name in folders if name != self.INCOMING], files

    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        return File(self.fetch(name), name) if mode == "rb" else super()._open(name, mode)  # type: ignore[misc]

    def _save(self, name: str, content: File[Any]) -> str:
        """Write under `name`, or under another free name if a second writer was faster to take it."""
        while True:
            path = self._path(name)
            try:
                with self._failures("write", name):
                    self._write(path, byte_chunks(content), _move_to_free_name)
            except _NameTaken:
                name = self.get_available_name(name)
            else:
                return path.relative_to(self.location).as_posix()

    @property
    def _incoming(self) -> Path:
        return Path(self.location) / self.INCOMING

    def _path(self, name: str) -> Path:
        """Return where `name` lies. Raises SuspiciousFileOperation for what cannot be a file of ours."""
        root = Path(self.location)
        path = Path(self.path(name)) if name and "\0" not in name else root
        if path == root or path.is_relative_to(self._incoming):
            raise SuspiciousFileOperation(f"{name!r} cannot be the name of a file in {root}.")
        return path

    def _write(self, path: Path, chunks: Iterable[bytes], move: Callable[[Path, Path], object]) -> int:
        """Write `chunks` to a temporary, make it durable, and `move` it to `path`. Return its size."""
        self._make_folder(self._incoming)
        self._make_folder(path.parent)
        temporary = self._incoming / f"{secrets.token_hex(16)}.part"
        try:
            size = self._write_temporary(temporary, chunks, lambda: move(temporary, path))
        finally:
            # The move has taken it away, unless something failed before or in it.
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
        return size

    def _write_temporary(self, temporary: Path, chunks: Iterable[bytes], move: Callable[[], object]) -> int:
        size = 0
        # 0o666 less the umask, and then the mode of FILE_UPLOAD_PERMISSIONS where there is one: the
        # same modes as with Django's own storage.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            # Held until the file has its name, and let go by the kernel should this process die: so the
            # sweeper knows a write in progress from one that was cut short.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            for chunk in chunks:
                size += file.write(chunk)
            if self.file_permissions_mode is not None:
                temporary.chmod(self.file_permissions_mode)
            self._ensure_location_group_id(str(temporary))  # type: ignore[attr-defined]
            file.flush()
            os.fsync(file.fileno())
            move()
        return size

    def _make_folder(self, folder: Path) -> None:
        """Make `folder` and its parents, each durable in the one above it."""
        if folder.is_dir():
            return
        if folder.parent != folder:
            self._make_folder(folder.parent)
        # Another process may have made it just now, which is as good.
        with suppress(FileExistsError):
            folder.mkdir()
            if self.directory_permissions_mode is not None:
                folder.chmod(self.directory_permissions_mode)
            _sync_folder(folder.parent)
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))

    @contextmanager
    def _failures(self, operation: str, name: str) -> Iterator[None]:
        """Turn what the operating system raises into our named errors."""
        try:
            yield
        except _NameTaken:
            raise
        except OSError as error:
            raise self._failure(name, operation, error) from error

    def _failure(self, name: str, operation: str, error: OSError) -> MediaError:
        """Return the named error for an `operation` on `name` that ended in `error`."""
        where = f"{name!r} in the folder {self.location}"
        if operation != "write" and error.errno in MISSING and Path(self.location).is_dir():
            return SourceMissing(f"There is no file {where}. Put it back, or delete its row.")
        reason = error.strerror or str(error)
        return error_class(error.errno)(f"Could not {operation} {where}: {reason}. {_advice(error)}")


class _NameTaken(OSError):
    """Another writer's file lies under the name that was free a moment ago."""


class _LocalFile(io.FileIO):
    """A file opened for reading, whose failures are those of the storage.

    Whoever decodes a picture takes an OSError for a broken picture. A disk or a network share that fails
    in the middle of a read must not be held against the file.
    """

    def __init__(self, path: Path, failed: Callable[[str, OSError], MediaError]) -> None:
        self._failed = failed
        super().__init__(path, "rb")

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        try:
            return super().readinto(buffer)
        except OSError as error:
            raise self._failed("read", error) from error

    def readall(self) -> bytes:
        try:
            return super().readall()
        except OSError as error:
            raise self._failed("read", error) from error


def _advice(error: OSError) -> str:
    for numbers, advice in _ADVICE.items():
        if error.errno in numbers:
            return advice
    return "See that the disk is there and in order; the call is worth a retry."


def _move_to_free_name(temporary: Path, path: Path) -> None:
    """Give the temporary its name, unless a file has that name: then raise _NameTaken.

    A hard link is the one portable way to say "only if it is free" about a file that is complete.
    """
    try:
        path.hardlink_to(temporary)
    except FileExistsError as error:
        raise _NameTaken(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        _reserve_and_replace(temporary, path)


def _reserve_and_replace(temporary: Path, path: Path) -> None:
    """Do the same without hard links: take the name with an empty file, then replace that file."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError as error:
        raise _NameTaken(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
    try:
        temporary.replace(path)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    """Make the names in `folder` outlive a power cut. Windows cannot open a folder, and needs not."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_being_written(temporary: Path) -> bool:
    """Whether some living process holds the lock of a write in progress."""
    with temporary.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False

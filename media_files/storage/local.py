"""Store files in a folder, with atomic and durable writes."""

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
# Errors of link() on file systems without hard links (FAT, some network shares).
NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class LocalStorage(MediaStorage, FileSystemStorage):
    """Store files in a folder: write to a temporary, sync it, and rename it atomically.

    Django's storage writes directly to the final name: with ``allow_overwrite`` it truncates a file that
    readers may have open, without it a second write to a name uses another name. Neither can replace a proxy
    safely, so only the choice of a free name in ``_save`` is kept.
    """

    # One folder for all writes in progress. It is on the destination's file system, as os.replace requires,
    # and hidden when someone lists or copies a folder of proxies.
    INCOMING: ClassVar[str] = ".incoming"

    @property
    def label(self) -> str:
        """The folder's path, for messages."""
        return f"the folder {self.location}"

    @property
    def setting(self) -> str:
        """The setting that defines the folder."""
        return "the storage's folder (NOVAPROXY_DATA_DIR, or the storage's own _FOLDER)"

    def put(self, name: str, content: bytes | BinaryIO, *, content_type: str = OCTETS) -> Stored:
        """Write `content` to a temporary and rename it to `name`. The content type is not stored."""
        path = self._path(name)
        with self._failures("write", name):
            size = self._write(path, byte_chunks(content), os.replace)
        return Stored(name=name, bytes=size)

    def fetch(self, name: str, *, etag: str = "", version: str = "") -> BinaryIO:
        """Open the file itself. Folders have no ETags or versions, so both are ignored."""
        path = self._path(name)
        with self._failures("open", name):
            return cast("BinaryIO", io.BufferedReader(_LocalFile(path, partial(self._failure, name))))

    def stat(self, name: str) -> Stored:
        """Return the size from the file system."""
        path = self._path(name)
        with self._failures("look up", name):
            if not path.is_file():
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            return Stored(name=name, bytes=path.stat().st_size)

    def sweep_temporaries(self, older_than: timedelta) -> int:
        """Remove abandoned files from the folder of writes in progress, if last modified that long ago."""
        swept = 0
        for temporary in self.temporaries(older_than):
            with self._failures("sweep", temporary.name):
                # Another sweeper may remove the file in between.
                (Path(self.location) / temporary.name).unlink(missing_ok=True)
                swept += 1
        return swept

    def temporaries(self, older_than: timedelta) -> Iterator[Found]:
        """List abandoned files in the folder of writes in progress, if last modified that long ago."""
        deadline = time.time() - older_than.total_seconds()
        with self._failures("sweep", self.INCOMING):
            for temporary in self._incoming.glob("*"):
                # Another sweeper, or the writer itself, may remove the file in between.
                with suppress(FileNotFoundError):
                    status = temporary.stat()
                    if status.st_mtime <= deadline and not _is_being_written(temporary):
                        yield Found(f"{self.INCOMING}/{temporary.name}", status.st_size, status.st_mtime)

    def walk(self, prefix: str) -> Iterator[Found]:
        """List files one by one, so that folders of any size work. Skips files deleted in the meantime."""
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
        """Return the file's size in bytes."""
        return self.stat(name).bytes

    def delete(self, name: str) -> None:
        """Delete the file. A missing file is not an error."""
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
        """Write to `name`, or to another free name if another writer takes it first."""
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
        """Return the path of `name`. Raises SuspiciousFileOperation if it cannot be one of our files."""
        root = Path(self.location)
        path = Path(self.path(name)) if name and "\0" not in name else root
        if path == root or path.is_relative_to(self._incoming):
            raise SuspiciousFileOperation(f"{name!r} cannot be the name of a file in {root}.")
        return path

    def _write(self, path: Path, chunks: Iterable[bytes], move: Callable[[Path, Path], object]) -> int:
        """Write `chunks` to a temporary, sync it, and `move` it to `path`. Return its size."""
        self._make_folder(self._incoming)
        self._make_folder(path.parent)
        temporary = self._incoming / f"{secrets.token_hex(16)}.part"
        try:
            size = self._write_temporary(temporary, chunks, lambda: move(temporary, path))
        finally:
            # Already moved away, unless something failed.
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
        return size

    def _write_temporary(self, temporary: Path, chunks: Iterable[bytes], move: Callable[[], object]) -> int:
        size = 0
        # The same modes as in Django's storage: 0o666 minus the umask, then FILE_UPLOAD_PERMISSIONS if set.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            # Held until the file is renamed, and released by the kernel if this process dies. This lets the
            # sweeper distinguish a write in progress from an abandoned one.
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
        """Create `folder` and its parents, and sync each one's parent."""
        if folder.is_dir():
            return
        if folder.parent != folder:
            self._make_folder(folder.parent)
        # Another process may have just created it, which is fine.
        with suppress(FileExistsError):
            folder.mkdir()
            if self.directory_permissions_mode is not None:
                folder.chmod(self.directory_permissions_mode)
            _sync_folder(folder.parent)
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))

    @contextmanager
    def _failures(self, operation: str, name: str) -> Iterator[None]:
        """Map errors of the operating system to named errors."""
        try:
            yield
        except _NameTaken:
            raise
        except OSError as error:
            raise self._failure(name, operation, error) from error

    def _failure(self, name: str, operation: str, error: OSError) -> MediaError:
        """Return the named error for an `operation` on `name` that failed with `error`."""
        where = f"{name!r} in the folder {self.location}"
        if operation != "write" and error.errno in MISSING and Path(self.location).is_dir():
            return SourceMissing(f"There is no file {where}. Put it back, or delete its row.")
        reason = error.strerror or str(error)
        return error_class(error.errno)(f"Could not {operation} {where}: {reason}. {_advice(error)}")


class _NameTaken(OSError):
    """Another writer has taken the name that was free a moment ago."""


class _LocalFile(io.FileIO):
    """A file opened for reading that raises the storage's named errors.

    Decoding code treats an OSError as a broken picture. A disk or network share that fails in the middle of a
    read must not count against the file.
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
    """Rename the temporary, or raise _NameTaken if the name is already in use.

    A hard link is the only portable way to give a complete file a name only if the name is free.
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
    """Do the same without hard links: reserve the name with an empty file, then replace that file."""
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
    """Sync the names in `folder`, so that they survive a power failure. Not possible or needed on Windows."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_being_written(temporary: Path) -> bool:
    """Return whether a running process holds the lock of a write in progress."""
    with temporary.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False

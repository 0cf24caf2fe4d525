"""The interface of the two storages behind the aliases ``originals`` and ``proxies``.

Both are ordinary Django storages (``save``, ``open``, ``exists``, ``delete``, ``size``, ``url``) and define
what Django leaves open: whether a write was complete, how many requests a read takes, and how it failed.

* `media_files.storage.local.LocalStorage` keeps files in a folder.
* `media_files.storage.s3.BucketStorage` keeps them in an S3 bucket. It imports boto3 (0.3 s, 30 MB), so only
  installations that use it pay for that.

Every method raises `SourceMissing` if the storage has no file of that name, `SourceChanged` if it has a
different file than the caller expects, ``SuspiciousFileOperation`` for a name that points outside the
storage, and `StorageError` for any other failure of the disk, the network or the server.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, BinaryIO, Final, cast
from urllib.parse import urlsplit

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import File
from django.core.files.storage import Storage, storages

from media_files.errors import DamagedFile, StorageError

CHUNK_BYTES: Final = 1 << 20
OCTETS: Final = "application/octet-stream"
# The domains of all partitions. Source: AWS general reference, "AWS service endpoints".
_AMAZON_DOMAINS: Final = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".amazonaws.eu")


class SourceChanged(StorageError):
    """The object under the name does not have the requested ETag.

    A replaced file succeeds at the next attempt. One that was changed in place must be registered again, so
    it is not retried for long.
    """

    most_tries = 5


@dataclass(frozen=True, slots=True)
class Stored:
    """A file in a storage.

    Attributes:
        name: the name within the storage, without the storage's folder or prefix.
        bytes: size in bytes.
        etag: the ETag without its quotes; empty if the storage has none.
        version: the object's version; empty if the storage has none.
    """

    name: str
    bytes: int
    etag: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A file found by listing a storage.

    Attributes:
        name: the name within the storage.
        bytes: size in bytes.
        modified_at: when it was last modified, in seconds since the epoch.
    """

    name: str
    bytes: int
    modified_at: float


class MediaStorage(Storage, ABC):
    """A Django storage with atomic writes, single-request reads and named errors."""

    @property
    def is_amazon(self) -> bool:
        """Whether this is an Amazon S3 bucket, which other AWS services can read."""
        return False

    @property
    @abstractmethod
    def label(self) -> str:
        """The storage's location, for messages."""

    @property
    @abstractmethod
    def setting(self) -> str:
        """The setting that defines the location."""

    @abstractmethod
    def put(self, name: str, content: bytes | BinaryIO, *, content_type: str = OCTETS) -> Stored:
        """Store `content` under exactly `name`, and replace any existing file.

        Readers see either the old or the new bytes, never a part, even if the process or the machine crashes
        in between. When this returns, the bytes survive a power failure.

        Args:
            name: a relative name with forward slashes.
            content: the bytes, or a binary stream; a seekable stream is read from its beginning.
            content_type: the MIME type, stored if the storage supports it.
        """

    @abstractmethod
    def fetch(self, name: str, *, etag: str = "", version: str = "") -> BinaryIO:
        """Open the file `name` with a single read request.

        Args:
            name: a name passed to `put` or returned by ``save``.
            etag: require an object with this ETag; empty for any. Folders have no ETags and ignore it.
            version: open this version instead of the latest, if the storage has versions.

        Returns:
            A seekable binary stream at its beginning (a context manager). The caller must close it.
        """

    @abstractmethod
    def stat(self, name: str) -> Stored:
        """Return size, ETag and version of the file `name` without reading its bytes."""

    def check_stored(self, name: str, *, size: int, sha256: str, etag: str = "") -> None:
        """Check with one lookup that the file `name` is the one that was stored.

        Copying to another bucket may change the ETag but not the bytes. In that case, read and hash the file.

        Args:
            name: a name passed to `put` or returned by ``save``.
            size: the recorded size in bytes.
            sha256: the recorded SHA-256.
            etag: the recorded ETag; empty if there is none.

        Raises:
            SourceMissing: there is no such file.
            DamagedFile: the size or the content differs.
            StorageError: the storage does not answer.
        """
        stored = self.stat(name)
        if stored.bytes != size:
            raise damaged(name, f"{stored.bytes:,} bytes where {size:,} are recorded")
        if etag and stored.etag and stored.etag != etag:
            self.check_content(name, size=size, sha256=sha256)

    def check_content(self, name: str, *, size: int, sha256: str) -> None:
        """Read the file `name` and check its size and SHA-256. Raises the errors of `check_stored`."""
        fetch_whole(self, name, size=size, sha256=sha256).close()

    @abstractmethod
    def walk(self, prefix: str) -> Iterator[Found]:
        """List all files below the folder `prefix`, in no particular order. The listing is lazy.

        Raises:
            StorageError: the storage does not answer.
        """

    @abstractmethod
    def temporaries(self, older_than: timedelta) -> Iterator[Found]:
        """List the files that `sweep_temporaries` would remove."""

    @abstractmethod
    def sweep_temporaries(self, older_than: timedelta) -> int:
        """Remove temporary files of crashed writers and return how many there were.

        Args:
            older_than: keep files that were modified more recently, because their writer may be alive.
        """


def media_storage(alias: str) -> MediaStorage:
    """Return the storage for an `alias` of settings.STORAGES."""
    storage = storages[alias]
    if not isinstance(storage, MediaStorage):
        raise ImproperlyConfigured(
            f"STORAGES[{alias!r}] is {type(storage).__name__}, which cannot write a file whole. "
            "Set its BACKEND to media_files.storage.local.LocalStorage or "
            "media_files.storage.s3.BucketStorage."
        )
    return storage


def field_storage(alias: str) -> MediaStorage:
    """Return the storage behind `alias` for a model's field.

    Models must import without that storage, or `manage.py check` could not explain what is missing
    (media_files.E005, media_files.E006). Until all models are imported, the field gets a storage that refuses
    every call.
    """
    try:
        return media_storage(alias)
    except ImproperlyConfigured:
        if apps.models_ready:
            raise
        return cast(MediaStorage, Storage())


def is_amazon_endpoint(url: str | None) -> bool:
    """Return whether S3 requests to this URL go to Amazon, which is also the default without a URL."""
    return not url or (urlsplit(url).hostname or "").endswith(_AMAZON_DOMAINS)


def damaged(name: str, how: str) -> DamagedFile:
    """Return the error for a stored file whose bytes differ from those recorded in its row."""
    return DamagedFile(f"{name!r} is damaged: it has {how}. Restore it from a backup, or add the file again.")


def fetch_whole(
    storage: MediaStorage, name: str, *, size: int | None, sha256: str = "", etag: str = ""
) -> BinaryIO:
    """Open the stored file `name` if it matches the recorded values.

    Args:
        storage: the file's storage.
        name: a name passed to `put` or returned by ``save``.
        size: the recorded size in bytes; None if nothing is recorded.
        sha256: the recorded SHA-256; empty to compare only the size.
        etag: see `MediaStorage.fetch`.

    Raises:
        DamagedFile: the bytes differ.
        SourceMissing, SourceChanged, StorageError: see `MediaStorage.fetch`.
    """
    stream = storage.fetch(name, etag=etag)
    try:
        check_content(stream, name, size=size, sha256=sha256)
    except BaseException:
        stream.close()
        raise
    return stream


def check_content(stream: BinaryIO, name: str, *, size: int | None, sha256: str) -> None:
    """Check a stream against the recorded size and SHA-256, then rewind it.

    Raises:
        DamagedFile: the bytes differ.
    """
    check_size(stream, name, size)
    if sha256:
        found = hashlib.file_digest(cast("Any", stream), "sha256").hexdigest()
        stream.seek(0)
        if found != sha256:
            raise damaged(name, "other bytes than the recorded SHA-256 says")


def check_size(stream: BinaryIO, name: str, size: int | None) -> int:
    """Return a stream's size in bytes and rewind it.

    Raises:
        DamagedFile: `size` is known and the stream has a different size.
    """
    found = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    if size is not None and found != size:
        raise damaged(name, f"{found:,} bytes where {size:,} are recorded")
    return found


def byte_chunks(content: bytes | BinaryIO | File[Any]) -> Iterator[bytes]:
    """Yield the bytes of `content` from its beginning (or from its current position if it cannot seek)."""
    if isinstance(content, bytes | bytearray | memoryview):
        yield bytes(content)
        return
    if content.seekable():
        content.seek(0)
    while chunk := content.read(CHUNK_BYTES):
        yield chunk.encode() if isinstance(chunk, str) else chunk

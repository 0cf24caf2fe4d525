"""The interface of the two storages behind the aliases ``originals`` and ``proxies``.

Both are ordinary Django storages (``save``, ``open``, ``exists``, ``delete``, ``size``, ``url``) with what
Django's interface leaves open: whether a write was complete, how many requests a read costs, and which kind
of failure it was.

* `media_files.storage.local.LocalStorage` keeps files in a folder.
* `media_files.storage.s3.BucketStorage` keeps them in an S3 bucket. It imports boto3 (0.3 s, 30 MB), so only
  an installation that names it in its settings pays for that.

Every method raises `SourceMissing` where the storage has no file of that name, `SourceChanged` where it has
another file than the caller expects, ``SuspiciousFileOperation`` for a name that leads out of the storage,
and `StorageError` for any other answer of the disk, the network or the server.
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
# AWS general reference, "AWS service endpoints": the domains of all partitions.
_AMAZON_DOMAINS: Final = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".amazonaws.eu")


class SourceChanged(StorageError):
    """Another object lies under the name than the one that was asked for by its ETag.

    A file that was replaced is read again at the next try. One that was changed in place must be registered
    again, so it is not tried for long.
    """

    most_tries = 5


@dataclass(frozen=True, slots=True)
class Stored:
    """What lies in a storage under a name.

    Attributes:
        name: the name within the storage, without the storage's own folder or prefix.
        bytes: its size.
        etag: the ETag without its quotes; empty where the storage keeps none.
        version: the object's version; empty where the storage keeps none.
    """

    name: str
    bytes: int
    etag: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A file that a listing found.

    Attributes:
        name: the name within the storage.
        bytes: its size.
        modified_at: when it was last written to, in seconds since the epoch.
    """

    name: str
    bytes: int
    modified_at: float


class MediaStorage(Storage, ABC):
    """A Django storage that writes whole files, reads with one request, and names its failures."""

    @property
    def is_amazon(self) -> bool:
        """Whether this is a bucket of Amazon S3, which Amazon's other services can read from."""
        return False

    @property
    @abstractmethod
    def label(self) -> str:
        """The storage's place, for messages."""

    @property
    @abstractmethod
    def setting(self) -> str:
        """The setting that names that place."""

    @abstractmethod
    def put(self, name: str, content: bytes | BinaryIO, *, content_type: str = OCTETS) -> Stored:
        """Store `content` under exactly `name`, in place of what may lie there.

        Readers see the old bytes or the new ones and never a part, also when the process or the machine
        dies in between. When this returns, the bytes outlive a power cut.

        Args:
            name: a relative name with forward slashes.
            content: the bytes, or a binary stream; a stream that can seek is read from its beginning.
            content_type: the MIME type, kept where the storage keeps one.
        """

    @abstractmethod
    def fetch(self, name: str, *, etag: str = "", version: str = "") -> BinaryIO:
        """Open what lies under `name`, with one read of the storage.

        Args:
            name: a name as `put` and ``save`` take and give it.
            etag: only an object with this ETag will do; empty for any. A folder keeps none and
                does not look at it.
            version: this version of the object rather than the latest, where the storage keeps versions.

        Returns:
            A seekable binary stream at its beginning, to be closed by the caller (a context manager).
        """

    @abstractmethod
    def stat(self, name: str) -> Stored:
        """Say what lies under `name`, without reading its bytes."""

    def check_stored(self, name: str, *, size: int, sha256: str, etag: str = "") -> None:
        """Check with one look-up that the file under `name` is the one that was stored there.

        A copy to another bucket may change an ETag though not the bytes: then they are read and hashed.

        Args:
            name: a name as `put` and ``save`` take and give it.
            size: its bytes.
            sha256: of its bytes.
            etag: its ETag; empty where none was recorded.

        Raises:
            SourceMissing: there is no such file.
            DamagedFile: its size or its ETag is another.
            StorageError: the storage does not answer.
        """
        stored = self.stat(name)
        if stored.bytes != size:
            raise damaged(name, f"{stored.bytes:,} bytes where {size:,} are recorded")
        if etag and stored.etag and stored.etag != etag:
            self.check_content(name, size=size, sha256=sha256)

    def check_content(self, name: str, *, size: int, sha256: str) -> None:
        """Read the file under `name`, and check its size and SHA-256. Raises the errors of `check_stored`."""
        fetch_whole(self, name, size=size, sha256=sha256).close()

    @abstractmethod
    def walk(self, prefix: str) -> Iterator[Found]:
        """List all files below the folder `prefix`, in no order, as they are read from the storage.

        Raises:
            StorageError: the storage does not answer.
        """

    @abstractmethod
    def temporaries(self, older_than: timedelta) -> Iterator[Found]:
        """List what `sweep_temporaries` would remove."""

    @abstractmethod
    def sweep_temporaries(self, older_than: timedelta) -> int:
        """Remove what writers that died left behind, and return how many such files there were.

        Args:
            older_than: leave alone what was written to more recently, for its writer may be alive.
        """


def media_storage(alias: str) -> MediaStorage:
    """Return the storage behind `alias`, as settings.STORAGES names it."""
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
    """Return whether S3 requests to this address go to Amazon; without an address they do."""
    return not url or (urlsplit(url).hostname or "").endswith(_AMAZON_DOMAINS)


def damaged(name: str, how: str) -> DamagedFile:
    """Return the error for a stored file that has other bytes than its row records."""
    return DamagedFile(f"{name!r} is damaged: it has {how}. Restore it from a backup, or add the file again.")


def fetch_whole(
    storage: MediaStorage, name: str, *, size: int | None, sha256: str = "", etag: str = ""
) -> BinaryIO:
    """Open what is stored under `name`, if it is what its row records.

    Args:
        storage: where.
        name: a name as `put` and ``save`` take and give it.
        size: its bytes; None where nothing is recorded.
        sha256: of its bytes; empty to compare the size alone.
        etag: as of `MediaStorage.fetch`.

    Raises:
        DamagedFile: it has other bytes.
        SourceMissing, SourceChanged, StorageError: as of `MediaStorage.fetch`.
    """
    stream = storage.fetch(name, etag=etag)
    try:
        check_content(stream, name, size=size, sha256=sha256)
    except BaseException:
        stream.close()
        raise
    return stream


def check_content(stream: BinaryIO, name: str, *, size: int | None, sha256: str) -> None:
    """Check that a stream has the bytes that are recorded, and leave it at its beginning.

    Raises:
        DamagedFile: it has not.
    """
    check_size(stream, name, size)
    if sha256:
        found = hashlib.file_digest(cast("Any", stream), "sha256").hexdigest()
        stream.seek(0)
        if found != sha256:
            raise damaged(name, "other bytes than the recorded SHA-256 says")


def check_size(stream: BinaryIO, name: str, size: int | None) -> int:
    """Return a stream's bytes, and leave it at its beginning.

    Raises:
        DamagedFile: it has not `size` bytes, where that is known.
    """
    found = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    if size is not None and found != size:
        raise damaged(name, f"{found:,} bytes where {size:,} are recorded")
    return found


def byte_chunks(content: bytes | BinaryIO | File[Any]) -> Iterator[bytes]:
    """Yield the bytes of `content` from its beginning (or from where it stands, if it cannot seek)."""
    if isinstance(content, bytes | bytearray | memoryview):
        yield bytes(content)
        return
    if content.seekable():
        content.seek(0)
    while chunk := content.read(CHUNK_BYTES):
        yield chunk.encode() if isinstance(chunk, str) else chunk

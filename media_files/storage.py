"""Where files lie: the two storages behind the aliases ``originals`` and ``proxies``.

Both are ordinary Django storages (``save``, ``open``, ``exists``, ``delete``, ``size``, ``url``) with a small
interface more, `MediaStorage`, because Django's own says too little for us: whether a write happened whole,
how many requests a read costs, and what kind of failure it was.

* `LocalStorage` keeps files in a folder.
* `BucketStorage` keeps them in an S3 bucket.

Each is imported on first use: an installation whose files lie in a folder loads no boto3 (0.3 s, 30 MB).

Errors raised by every method of both: `SourceMissing` where nothing lies under the name, `SourceChanged`
where something else does than the caller knew, `StorageError` for whatever the disk, the network or the
server answers besides. ``SuspiciousFileOperation`` where a name would lead out of the storage.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import File
from django.core.files.storage import Storage, storages

from media_files.errors import StorageError

if TYPE_CHECKING:
    from media_files.bucket import BucketStorage
    from media_files.folder import LocalStorage

__all__ = [
    "BucketStorage",
    "LocalStorage",
    "MediaStorage",
    "SourceChanged",
    "Stored",
    "media_storage",
]

_DEFINED_IN: Final = {"BucketStorage": "media_files.bucket", "LocalStorage": "media_files.folder"}

CHUNK_BYTES: Final = 1 << 20
OCTETS: Final = "application/octet-stream"


class SourceChanged(StorageError):
    """Another object lies under the name than the one that was asked for by its ETag."""

    transient = False


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


class MediaStorage(Storage, ABC):
    """A Django storage that writes whole files, reads with one request, and names its failures."""

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
            "Set its BACKEND to media_files.storage.LocalStorage or media_files.storage.BucketStorage."
        )
    return storage


def byte_chunks(content: bytes | BinaryIO | File[Any]) -> Iterator[bytes]:
    """Yield the bytes of `content` from its beginning (or from where it stands, if it cannot seek)."""
    if isinstance(content, bytes | bytearray | memoryview):
        yield bytes(content)
        return
    if content.seekable():
        content.seek(0)
    while chunk := content.read(CHUNK_BYTES):
        yield chunk.encode() if isinstance(chunk, str) else chunk


def __getattr__(name: str) -> Any:
    """Import a storage when it is first asked for (PEP 562)."""
    if name in _DEFINED_IN:
        return getattr(importlib.import_module(_DEFINED_IN[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

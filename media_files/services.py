"""The one way an original comes in through a door: upload, import, or registration in place."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, BinaryIO

from django.core.files.base import File
from django.db import IntegrityError

from media_files.conf import limits
from media_files.facts import FileFacts, read_facts
from media_files.models import MediaFile
from media_files.names import readable_name
from media_files.storage import media_storage

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def find_same(facts: FileFacts) -> MediaFile | None:
    """The row that holds the same bytes already."""
    return MediaFile.objects.filter(sha256=facts.sha256, managed=True).order_by("id").first()


def add_file(
    stream: BinaryIO, name: str, *, uploader: User | None = None, facts: FileFacts | None = None
) -> tuple[MediaFile, bool]:
    """Keep an original; return its row, and whether it is new.

    The same bytes again give the row that is there, and nothing is stored.

    Raises:
        MediaError: what was given may not be kept, or the storage does not answer.
    """
    facts = facts or read_facts(stream, limits())
    if same := find_same(facts):
        return same, False
    row = MediaFile(
        original_name=readable_name(name),
        uploader=uploader,
        content_key=facts.sha256,
        file=_named(stream, name),
    )
    row.pending_facts = facts
    try:
        row.save()
    except IntegrityError:
        # Another upload of the same bytes was faster.
        if same := find_same(facts):
            return same, False
        raise
    return row, True


def register_in_place(storage_alias: str, name: str, *, original_name: str = "") -> MediaFile:
    """A row for an original that stays where it is; its bytes are never changed, moved or deleted.

    Its facts are read with its first proxy. Until then its fingerprint is made of where it lies and
    what the storage says of it.

    Raises:
        SourceMissing: nothing lies under ``name``.
        StorageError: the storage does not answer.
    """
    stored = media_storage(storage_alias).stat(name)
    row = MediaFile.objects.filter(storage_alias=storage_alias, file=name, managed=False).first()
    if row and (row.etag, row.version, row.bytes) == (stored.etag, stored.version, stored.bytes):
        return row
    row = row or MediaFile(storage_alias=storage_alias, file=name, managed=False)
    row.original_name = readable_name(original_name or name)
    row.bytes, row.etag, row.version = stored.bytes, stored.etag, stored.version
    row.width = row.height = None
    row.sha256 = ""
    identity = f"{storage_alias}\n{name}\n{stored.version or stored.etag}\n{stored.bytes}"
    row.fingerprint = f"place:{hashlib.sha256(identity.encode()).hexdigest()}"
    row.save()
    return row


def _named(stream: BinaryIO, name: str) -> File[Any]:
    return File(stream, name=readable_name(name) or "file")

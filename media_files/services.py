"""Add originals: the functions behind upload, import and registration in place."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from django.core.files.base import File
from django.db import IntegrityError
from django.db.models import QuerySet

from media_files.conf import limits
from media_files.errors import SourceMissing
from media_files.facts import FileFacts, read_facts
from media_files.models import MediaFile
from media_files.names import readable_name
from media_files.storage.base import media_storage

if TYPE_CHECKING:
    from django.contrib.auth.models import User

logger = logging.getLogger(__name__)

# Rows with the same bytes that are checked when those bytes are added again.
_MOST_OF_THE_SAME: Final = 20


def find_same(facts: FileFacts) -> MediaFile | None:
    """Return the existing row with the same bytes."""
    return _same_bytes(facts).first()


def add_file(
    stream: BinaryIO, name: str, *, uploader: User | None = None, facts: FileFacts | None = None
) -> tuple[MediaFile, bool]:
    """Add an original and return its row and whether it is new.

    If the same bytes already exist, the existing row is returned. Nothing is stored then, unless the row's
    file is missing or has a different size: these bytes replace it.

    Raises:
        MediaError: the file is not acceptable, or the storage does not answer.
    """
    facts = facts or read_facts(stream, limits())
    if same := _find_whole(stream, facts):
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
        if same := _find_whole(stream, facts):
            return same, False
        raise
    return row, True


def restore_file(row: MediaFile, stream: BinaryIO, facts: FileFacts) -> bool:
    """Store the row's bytes again if its file is missing or has a different size. Return whether it did.

    Costs one lookup in the storage and no read. The rest of the row stays unchanged.

    Raises:
        MediaError: the storage does not answer.
    """
    if _is_whole(row):
        return False
    logger.warning("The file of %s (id %s) was missing or damaged and is stored again.", row, row.pk)
    row.file = _named(stream, row.original_name)
    row.pending_facts = facts
    row.save()
    return True


def register_in_place(storage_alias: str, name: str, *, original_name: str = "") -> MediaFile:
    """Return a row for an original that stays in place. Its bytes are never changed, moved or deleted.

    Its facts are read when its first proxy is made. Until then its fingerprint is derived from its location
    and what the storage reports about it.

    Raises:
        SourceMissing: the storage has no file called ``name``.
        StorageError: the storage does not answer.
    """
    stored = media_storage(storage_alias).stat(name)
    row = MediaFile.objects.filter(storage_alias=storage_alias, file=name, managed=False).first()
    if row and (row.etag, row.version, row.bytes) == (stored.etag, stored.version, stored.bytes):
        return row
    place = f"{storage_alias}\n{name}"
    row = row or MediaFile(
        storage_alias=storage_alias,
        file=name,
        managed=False,
        content_key=hashlib.sha256(place.encode()).hexdigest(),
    )
    row.original_name = readable_name(original_name or name)
    row.bytes, row.etag, row.version = stored.bytes, stored.etag, stored.version
    row.width = row.height = None
    row.sha256 = ""
    identity = f"{place}\n{stored.version or stored.etag}\n{stored.bytes}"
    row.fingerprint = f"place:{hashlib.sha256(identity.encode()).hexdigest()}"
    try:
        row.save()
    except IntegrityError:
        # Another registration of the same file was faster.
        return MediaFile.objects.get(content_key=row.content_key)
    return row


def _same_bytes(facts: FileFacts) -> QuerySet[MediaFile]:
    return MediaFile.objects.filter(sha256=facts.sha256, managed=True).order_by("id")


def _find_whole(stream: BinaryIO, facts: FileFacts) -> MediaFile | None:
    """Return the row with these bytes, after restoring missing files of all such rows."""
    same = list(_same_bytes(facts)[:_MOST_OF_THE_SAME])
    for row in same:
        restore_file(row, stream, facts)
    return same[0] if same else None


def _is_whole(row: MediaFile) -> bool:
    try:
        return media_storage(row.storage_alias).stat(str(row.file.name)).bytes == row.bytes
    except SourceMissing:
        return False


def _named(stream: BinaryIO, name: str) -> File[Any]:
    return File(stream, name=readable_name(name) or "file")

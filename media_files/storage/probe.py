"""A write, a read and a comparison of one small object: what a storage answers is not what it stored."""

from __future__ import annotations

import logging
import os
from typing import Final
from uuid import uuid4

from django.conf import settings

from media_files.errors import MediaError, StorageError
from media_files.storage.base import MediaStorage, media_storage

logger = logging.getLogger(__name__)

# All that probes write is under this folder; one that could not be deleted is a temporary.
FOLDER: Final = ".probe"
_ALIASES: Final = ("originals", "proxies", "analysis")
_BYTES: Final = 4096


def configured_aliases() -> list[str]:
    """Return the aliases of the storages that we write to."""
    return [alias for alias in _ALIASES if alias in settings.STORAGES]


def probe(storage: MediaStorage) -> None:
    """Write a small file, read it, compare, and delete it.

    Raises:
        StorageError: the storage does not answer, or returns other bytes than were written.
    """
    name, content = f"{FOLDER}/{uuid4().hex}", os.urandom(_BYTES)
    storage.put(name, content)
    try:
        with storage.fetch(name) as stream:
            found = stream.read()
        if found != content:
            raise StorageError(
                f"{storage.label} returned {len(found):,} other bytes for the {_BYTES:,} that were written. "
                f"Correct {storage.setting}, or repair that storage."
            )
    finally:
        storage.delete(name)


def failing_storages() -> dict[str, MediaError]:
    """Probe each storage that we write to; return the error of each that fails, by alias."""
    failures: dict[str, MediaError] = {}
    for alias in configured_aliases():
        try:
            probe(media_storage(alias))
        except MediaError as error:
            logger.error("The storage %r is not usable: %s", alias, error)
            failures[alias] = error
    return failures

"""Probe a storage by writing, reading and comparing a small object, because its response proves nothing."""

from __future__ import annotations

import logging
import os
from typing import Final
from uuid import uuid4

from django.conf import settings

from media_files.errors import MediaError, StorageError
from media_files.storage.base import MediaStorage, media_storage

logger = logging.getLogger(__name__)

# All probe files are in this folder. One that could not be deleted counts as a temporary.
FOLDER: Final = ".probe"
_ALIASES: Final = ("originals", "proxies", "analysis")
_BYTES: Final = 4096


def configured_aliases() -> list[str]:
    """Return the aliases of the storages that NovaProxy writes to."""
    return [alias for alias in _ALIASES if alias in settings.STORAGES]


def probe(storage: MediaStorage) -> None:
    """Write a small file, read it back, compare, and delete it.

    Raises:
        StorageError: the storage does not answer, or returns different bytes.
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
    """Probe each storage that NovaProxy writes to, and return the errors by alias."""
    failures: dict[str, MediaError] = {}
    for alias in configured_aliases():
        try:
            probe(media_storage(alias))
        except MediaError as error:
            logger.error("The storage %r is not usable: %s", alias, error)
            failures[alias] = error
    return failures

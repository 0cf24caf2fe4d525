"""Removing files that no row names any more: after the commit, and again if that was cut short."""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial

from django.core.files.storage import storages
from django.db import transaction
from django.utils.timezone import now

from media_files.errors import MediaError
from media_files.models import DiscardedFile, MediaFile

logger = logging.getLogger(__name__)


def discard(storage_alias: str, name: str | None) -> None:
    """Have the file under ``name`` removed once the current transaction has been committed."""
    if not name:
        return
    discarded = DiscardedFile.objects.create(storage_alias=storage_alias, name=name)
    transaction.on_commit(partial(remove, discarded))


def remove(discarded: DiscardedFile) -> bool:
    """Remove the file, then its note. False where the storage did not answer; the note stays then.

    A name that an original's row still bears (a copied row shares its file) is left alone.
    """
    alias, name = discarded.storage_alias, discarded.name
    try:
        if not MediaFile.objects.filter(storage_alias=alias, file=name).exists():
            storages[alias].delete(name)
    except MediaError as error:
        logger.warning("Could not remove %s from %s yet; the sweeper tries again: %s", name, alias, error)
        return False
    discarded.delete()
    return True


def remove_left_over(older_than: timedelta) -> int:
    """Remove the originals whose removal was cut short; return how many went."""
    left = DiscardedFile.objects.filter(created_at__lt=now() - older_than).order_by("id")[:1000]
    return sum(remove(discarded) for discarded in left)

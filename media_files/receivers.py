"""What follows from a change to an original's row, and from the end of a request."""

from __future__ import annotations

import logging
from typing import Any

from django.core.signals import request_finished
from django.db import DatabaseError
from django.db.models.signals import pre_delete
from django.dispatch import receiver

from media_files import transactions
from media_files.models import DiscardedFile, MediaFile

logger = logging.getLogger(__name__)


@receiver(pre_delete, sender=MediaFile)
def discard_original(instance: MediaFile, **kwargs: Any) -> None:
    """Have the file removed that the row names now: it may have been replaced since ``instance`` was read."""
    today = MediaFile.objects.select_for_update().filter(pk=instance.pk).first()
    if today is not None and today.managed:
        DiscardedFile.discard(today.storage_alias, today.file.name)


@receiver(request_finished)
def look_back(**kwargs: Any) -> None:
    """Note what the request stored in transactions that were rolled back."""
    try:
        transactions.look_back()
    except DatabaseError as error:
        logger.warning("Files whose rows were rolled back are noted later: %s", error)

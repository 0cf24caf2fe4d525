"""Signal receivers for deleted originals and for the end of a request."""

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
    """Schedule the removal of the row's current file, which may be newer than that of ``instance``."""
    today = MediaFile.objects.select_for_update().filter(pk=instance.pk).first()
    if today is not None and today.managed:
        DiscardedFile.discard(today.storage_alias, today.file.name)


@receiver(request_finished)
def look_back(**kwargs: Any) -> None:
    """Write notes for files that the request stored in rolled-back transactions."""
    try:
        transactions.look_back()
    except DatabaseError as error:
        logger.warning("Files whose rows were rolled back are noted later: %s", error)

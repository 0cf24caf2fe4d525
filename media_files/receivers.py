"""What follows from a change to an original's row."""

from __future__ import annotations

from typing import Any

from django.db.models.signals import post_delete
from django.dispatch import receiver

from media_files.models import DiscardedFile, MediaFile


@receiver(post_delete, sender=MediaFile)
def remove_original(instance: MediaFile, **kwargs: Any) -> None:
    if instance.managed:
        DiscardedFile.discard(instance.storage_alias, instance.file.name)

"""Pause a batch when consecutive attempts, across all workers, fail with the same error code."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from django.db.models import Case, F, IntegerField, When

from media_files.errors import MediaError, SourceMissing
from media_files.models import MediaFile
from proxies.batches import lifecycle
from proxies.batches.lifecycle import WrongState
from proxies.models import Batch

# Consecutive attempts across all workers that fail with the same error: the next would fail, too.
MOST: Final = 5


def note_failure(batch: Batch, file_id: int, error: MediaError) -> bool:
    """Count a failed attempt; pause the batch at the fifth in a row. Return whether it was counted.

    A standing batch never pauses: its items are delayed, and its page shows what they wait for.
    """
    if batch.standing or not _counts(file_id, error):
        return False
    running = Batch.objects.filter(pk=batch.pk, state=Batch.State.RUNNING)
    same = When(alike_code=error.code, then=F("alike") + 1)
    running.update(alike=Case(same, default=1, output_field=IntegerField()), alike_code=error.code)
    if running.filter(alike__gte=MOST, alike_code=error.code).exists():
        reason = f"The last {MOST} attempts failed with the same error: {error}"
        with suppress(WrongState):  # another worker or a person changed it first
            lifecycle.pause(batch, reason=reason, code=error.code)
    return True


def note_progress(batch: Batch) -> None:
    """Reset the count, because the result of an attempt shows that files can be processed."""
    Batch.objects.filter(pk=batch.pk, alike__gt=0).update(alike=0, alike_code="")


def _counts(file_id: int, error: MediaError) -> bool:
    """Return whether other files would get the same error. Temporary errors only delay items."""
    if error.blames_file or (error.transient and not error.is_setup):
        return False
    # A row deleted meanwhile says nothing about other files; a missing stored file does.
    return not isinstance(error, SourceMissing) or MediaFile.objects.filter(pk=file_id).exists()

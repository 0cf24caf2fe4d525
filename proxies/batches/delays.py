"""Delayed files: logged once, and counted for the admin, the API and the commands."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from django.db.models import Count, Max
from django.utils.timezone import now

from media_files.console import counted
from media_files.errors import MediaError
from proxies.models import Batch, BatchItem

logger = logging.getLogger(__name__)

# What files wait for, by error code.
_THINGS: Final = {
    "storage": "the storage",
    "no_space": "free space in the storage",
    "machine_limit": "this machine",
    "access_denied": "permission to use the storage",
    "not_configured": "the storage's settings",
    "throttled": "the service's rate limit",
    "provider_unavailable": "the service",
    "provider_timeout": "the service",
    "busy": "another process",
    "unexpected": "another try",
}

_told: set[tuple[int, int, str]] = set()


@dataclass(frozen=True, slots=True)
class Delay:
    """Files of a batch that wait for the same thing.

    Attributes:
        error: the code of their error.
        files: how many wait.
        message: the error of one of them, and what to do.
        item: the id of that item.
    """

    error: str
    files: int
    message: str
    item: int

    @property
    def text(self) -> str:
        """A sentence such as ``16 files wait for free space in the storage: ...``"""
        wait = "waits" if self.files == 1 else "wait"
        return (
            f"{counted(self.files, 'file')} {wait} for {_THINGS.get(self.error, self.error)}: {self.message}"
        )

    def as_json(self) -> dict[str, str | int]:
        return {"error": self.error, "files": self.files, "message": self.message}


def tell(batch: Batch, error: MediaError) -> None:
    """Log why files of a batch are delayed: once per process, batch and error code."""
    kind = (os.getpid(), batch.pk, error.code)
    if kind not in _told:
        _told.add(kind)
        logger.warning("%s delays files (%s): %s", batch.job_id, error.code, error)


def delays_of(batches: Iterable[Batch]) -> dict[int, list[Delay]]:
    """Return what the files of each batch wait for, most files first, with two queries for all batches."""
    waiting = BatchItem.objects.filter(
        batch__in=list(batches), state=BatchItem.State.QUEUED, available_at__gt=now()
    ).exclude(error="")
    by_kind = waiting.order_by().values_list("batch", "error")
    kinds = list(by_kind.annotate(files=Count("*"), last=Max("id")))
    newest = BatchItem.objects.filter(pk__in=[last for *_, last in kinds])
    messages = dict(newest.values_list("pk", "message"))
    found: dict[int, list[Delay]] = {}
    for batch_id, error, files, last in sorted(kinds, key=lambda kind: -kind[2]):
        found.setdefault(batch_id, []).append(Delay(error, files, messages.get(last, ""), last))
    return found

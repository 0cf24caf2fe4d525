"""Delayed files: logged once, and counted for the admin, the API and the commands."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from django.db.models import Count, Max
from django.utils.timezone import now
from django.utils.translation import ngettext, ngettext_lazy

from media_files.errors import MediaError
from media_files.localised import number
from proxies.models import Batch, BatchItem

logger = logging.getLogger(__name__)

_SERVICE: Final = ngettext_lazy(
    "%(count)s file waits for the service: %(message)s",
    "%(count)s files wait for the service: %(message)s",
    "files",
)
# What files wait for, by error code.
_TEXTS: Final = {
    "storage": ngettext_lazy(
        "%(count)s file waits for the storage: %(message)s",
        "%(count)s files wait for the storage: %(message)s",
        "files",
    ),
    "no_space": ngettext_lazy(
        "%(count)s file waits for free space in the storage: %(message)s",
        "%(count)s files wait for free space in the storage: %(message)s",
        "files",
    ),
    "machine_limit": ngettext_lazy(
        "%(count)s file waits for this machine: %(message)s",
        "%(count)s files wait for this machine: %(message)s",
        "files",
    ),
    "access_denied": ngettext_lazy(
        "%(count)s file waits for permission to use the storage: %(message)s",
        "%(count)s files wait for permission to use the storage: %(message)s",
        "files",
    ),
    "not_configured": ngettext_lazy(
        "%(count)s file waits for the storage's settings: %(message)s",
        "%(count)s files wait for the storage's settings: %(message)s",
        "files",
    ),
    "throttled": ngettext_lazy(
        "%(count)s file waits for the service's rate limit: %(message)s",
        "%(count)s files wait for the service's rate limit: %(message)s",
        "files",
    ),
    "provider_unavailable": _SERVICE,
    "provider_timeout": _SERVICE,
    "busy": ngettext_lazy(
        "%(count)s file waits for another process: %(message)s",
        "%(count)s files wait for another process: %(message)s",
        "files",
    ),
    "unexpected": ngettext_lazy(
        "%(count)s file waits for another try: %(message)s",
        "%(count)s files wait for another try: %(message)s",
        "files",
    ),
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
        values = {"files": self.files, "count": number(self.files), "message": self.message}
        if text := _TEXTS.get(self.error):
            return text % values
        other = ngettext(
            "%(count)s file waits for %(error)s: %(message)s",
            "%(count)s files wait for %(error)s: %(message)s",
            self.files,
        )
        return other % {**values, "error": self.error}

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

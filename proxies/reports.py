"""Reports of what a command's run did or would do: per file, and in total."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from media_files.models import MediaFile
from proxies.batches import operations
from proxies.batches.plan import Plan
from proxies.models import Batch, BatchItem, Proxy
from proxies.outcomes import NEEDS_WORK, Outcome
from proxies.rendering.profiles import ProxyProfile

_CHUNK = 2000


@dataclass(frozen=True, slots=True)
class Line:
    """One file in the report, with the documented keys."""

    file: Any
    outcome: str
    reasons: list[str]
    error: str = ""
    message: str = ""
    attempts: int = 0
    proxy: Proxy | None = None

    def as_json(self) -> dict[str, Any]:
        file, proxy = self.file, self.proxy
        return {
            "id": file.pk,
            "original_name": file.original_name,
            "sha256": file.sha256 or None,
            "outcome": self.outcome,
            "reasons": self.reasons,
            "error": self.error,
            "message": self.message,
            "attempts": self.attempts,
            "width": file.width,
            "height": file.height,
            "format": file.format,
            "bytes": file.bytes,
            "proxy_width": proxy.width if proxy else None,
            "proxy_height": proxy.height if proxy else None,
            "proxy_format": proxy.format if proxy else None,
            "proxy_bytes": proxy.bytes if proxy else None,
            "proxy_path": proxy.image.name if proxy else None,
        }


def planned_lines(
    operation: str, files: QuerySet[MediaFile], parameters: dict[str, Any], profile: ProxyProfile
) -> Iterator[Line]:
    """Yield the expected outcome of each file. Reads the rows in chunks; opens no file."""
    for file in _stream(operation, files, parameters, profile):
        yield _line_of_row(file, profile)


def done_lines(
    operation: str,
    files: QuerySet[MediaFile],
    parameters: dict[str, Any],
    profile: ProxyProfile,
    batches: Sequence[Batch],
    *,
    since: datetime | None = None,
) -> Iterator[Line]:
    """Yield the outcome of each file: from its item if it was processed, else from its row.

    Both are read in the order of file ids and merged while streaming. With ``since``, items that finished
    earlier belong to an earlier run and are left out.
    """
    items = _items(batches, since)
    item = next(items, None)
    for file in _stream(operation, files, parameters, profile):
        while item is not None and item.file_id < file.pk:
            item = next(items, None)
        if item is not None and item.file_id == file.pk:
            yield _line_of_item(file, item, profile)
        elif file.outcome not in NEEDS_WORK:
            yield _line_of_row(file, profile)


@dataclass(slots=True)
class Totals:
    """The totals over the lines of a run."""

    outcomes: Counter[str]
    reasons: Counter[str]
    bytes_originals: int = 0
    bytes_proxies: int = 0
    bytes_made: int = 0
    bytes_to_send: int = 0

    @classmethod
    def empty(cls) -> Totals:
        return cls(Counter(), Counter())

    def add(self, line: Line) -> None:
        self.outcomes[line.outcome] += 1
        self.bytes_originals += line.file.bytes or 0
        if line.outcome in NEEDS_WORK:
            self.reasons.update(line.reasons)
        if line.proxy is not None and line.outcome in NEEDS_WORK | {Outcome.REUSED}:
            self.bytes_proxies += line.proxy.bytes
            self.bytes_to_send += line.file.bytes or 0
            self.bytes_made += line.proxy.bytes if line.outcome in NEEDS_WORK else 0

    def as_json(self, *, bytes_replaced: int) -> dict[str, Any]:
        return {
            **{outcome.value: self.outcomes[outcome] for outcome in Outcome},
            "bytes_originals": self.bytes_originals,
            "bytes_proxies": self.bytes_proxies,
            "bytes_disk_added": self.bytes_made - bytes_replaced,
            "bytes_not_sent": self.bytes_to_send - self.bytes_proxies,
        }


def planned_totals(plan: Plan) -> dict[str, Any]:
    """Return the same keys for a plan, with its forecast."""
    return {outcome.value: plan.outcomes[outcome] for outcome in Outcome} | plan.as_json()


def _stream(
    operation: str, files: QuerySet[MediaFile], parameters: dict[str, Any], profile: ProxyProfile
) -> Iterator[Any]:
    annotated = operations.get(operation).annotate(files, parameters).order_by("pk")
    yield from annotated.prefetch_related("proxies").iterator(chunk_size=_CHUNK)


def _items(batches: Sequence[Batch], since: datetime | None) -> Iterator[BatchItem]:
    if not batches:
        return iter(())
    items = BatchItem.objects.filter(batch__in=batches, state=BatchItem.State.DONE)
    if since is not None:
        items = items.filter(finished_at__gte=since)
    return items.order_by("file_id", "-id").iterator(chunk_size=_CHUNK)


def _line_of_row(file: Any, profile: ProxyProfile) -> Line:
    proxy = _proxy(file, profile.name) if file.outcome == Outcome.REUSED else None
    reasons = list(file.settled_reasons)
    return Line(file, file.outcome, reasons, file.settled_error, file.settled_message, proxy=proxy)


def _line_of_item(file: Any, item: BatchItem, profile: ProxyProfile) -> Line:
    proxy = None if item.outcome in (Outcome.FAILED, Outcome.QUARANTINED) else _proxy(file, profile.name)
    return Line(file, item.outcome, item.reasons, item.error, item.message, item.attempts, proxy)


def _proxy(file: Any, profile: str) -> Proxy | None:
    return next((proxy for proxy in file.proxies.all() if proxy.profile == profile), None)


def savings_percent(original: int | None, sent: int | None) -> float:
    """Return the upload saved, in percent of the original's bytes; negative if more is sent."""
    if not original or sent is None:
        return 0.0
    return round(100 * (1 - sent / original), 1)

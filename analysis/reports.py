"""Report what a run of the command did or would do, by file and in total."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from django.db.models import Prefetch, QuerySet

from analysis.models import Analysis
from analysis.options import Run
from analysis.queries import with_outcome
from media_files.models import MediaFile
from proxies.models import Batch, BatchItem
from proxies.outcomes import NEEDS_WORK, Outcome

_CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class Line:
    """One file of the report.

    Attributes:
        file: the file's row.
        provider: name of the provider.
        outcome: an `Outcome`; the item's state while it is unfinished.
        error, message: why it failed.
        attempts: of its batch item.
        analyses: the file's current answers.
        made: this run's calls for the file, including failed ones.
    """

    file: Any
    provider: str
    outcome: str
    error: str = ""
    message: str = ""
    attempts: int = 0
    analyses: list[Analysis] = field(default_factory=list)
    made: list[Analysis] = field(default_factory=list)

    @property
    def cost(self) -> Decimal:
        """Return this run's cost for the file in US dollars, including unusable answers."""
        return sum((row.cost or Decimal(0) for row in self.made), Decimal(0))

    @property
    def bytes_sent(self) -> int:
        return sum(row.bytes for row in self.made if row.usage and row.reused_from_id is None)

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.file.pk,
            "original_name": self.file.original_name,
            "sha256": self.file.sha256 or None,
            "outcome": self.outcome,
            "error": self.error,
            "message": self.message,
            "attempts": self.attempts,
            "provider": self.provider,
            "cost": f"{self.cost:.6f}",
            "analyses": [
                {
                    "id": row.pk,
                    "model": row.model,
                    "sent": row.sent,
                    "sent_sha256": row.sha256,
                    "sent_bytes": row.bytes,
                    "sent_width": row.width,
                    "sent_height": row.height,
                    "result": row.result,
                    "usage": row.usage,
                    "latency": row.latency,
                }
                for row in self.analyses
            ],
        }


@dataclass(slots=True)
class Totals:
    """The totals of a run."""

    outcomes: Counter[str] = field(default_factory=Counter)
    cost: Decimal = Decimal(0)
    bytes_sent: int = 0

    def add(self, line: Line) -> None:
        self.outcomes[line.outcome] += 1
        self.cost += line.cost
        self.bytes_sent += line.bytes_sent

    def as_json(self) -> dict[str, Any]:
        return {
            **{outcome.value: self.outcomes[outcome] for outcome in Outcome},
            "cost": f"{self.cost:.6f}",
            "bytes_sent": self.bytes_sent,
        }


def planned_lines(files: QuerySet[MediaFile], run: Run) -> Iterator[Line]:
    """Yield the outcome that each file would have; read the rows in chunks."""
    for file in _stream(files, run, force=run.force):
        yield Line(file, run.provider.name, file.outcome, file.settled_error, file.settled_message)


def done_lines(
    files: QuerySet[MediaFile], run: Run, batches: Sequence[Batch], *, since: datetime
) -> Iterator[Line]:
    """Yield the outcome of each file: from its batch item if it was processed, else from its row.

    Both are streamed in the order of the files' ids and merged. Items that finished before ``since`` belong
    to an earlier run and are left out.
    """
    name, numbers = run.provider.name, {batch.pk for batch in batches}
    items = _items(batches, since)
    item = next(items, None)
    # Without force: files that this run has just answered must not count as needing work.
    for file in _stream(files, run, force=False):
        while item is not None and item.file_id < file.pk:
            item = next(items, None)
        rows = file.analyses.all()
        answers = [row for row in rows if row.is_newest and row.provider == name]
        made = [row for row in rows if row.batch_id in numbers and row.created_at >= since]
        if item is not None and item.file_id == file.pk:
            outcome = item.outcome or item.state
            shown = [] if outcome in (Outcome.FAILED, Outcome.QUARANTINED) else answers
            yield Line(file, name, outcome, item.error, item.message, item.attempts, shown, made)
        elif file.outcome not in NEEDS_WORK:
            shown = answers if file.outcome == Outcome.REUSED else []
            yield Line(file, name, file.outcome, file.settled_error, file.settled_message, 0, shown)


def _stream(files: QuerySet[MediaFile], run: Run, *, force: bool) -> Iterator[Any]:
    annotated = with_outcome(files, run.provider.name, run.requests, run.profile, force=force)
    rows = Prefetch("analyses", Analysis.objects.defer("raw"))
    yield from annotated.order_by("pk").prefetch_related(rows).iterator(chunk_size=_CHUNK)


def _items(batches: Sequence[Batch], since: datetime) -> Iterator[BatchItem]:
    if not batches:
        return iter(())
    items = BatchItem.objects.filter(batch__in=batches).exclude(
        state=BatchItem.State.DONE, finished_at__lt=since
    )
    return items.order_by("file_id", "-id").iterator(chunk_size=_CHUNK)

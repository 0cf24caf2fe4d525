"""What a run of the command did, or would do: file by file, and in sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from django.db.models import QuerySet

from analysis.models import Analysis
from analysis.queries import with_outcome
from analysis.wishes import Run
from media_files.models import MediaFile
from proxies.models import Batch, BatchItem
from proxies.outcomes import NEEDS_WORK, Outcome

_CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class Line:
    """One file of the report, with the answers that it has now."""

    file: Any
    provider: str
    outcome: str
    error: str = ""
    message: str = ""
    attempts: int = 0
    analyses: list[Analysis] = field(default_factory=list)

    @property
    def cost(self) -> Decimal:
        """What this run paid for the file, in dollars; nothing for what was reused."""
        if self.outcome not in NEEDS_WORK:
            return Decimal(0)
        return sum((row.cost or Decimal(0) for row in self.analyses), Decimal(0))

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
    """The sums over the lines of a run."""

    outcomes: Counter[str] = field(default_factory=Counter)
    cost: Decimal = Decimal(0)
    bytes_sent: int = 0

    def add(self, line: Line) -> None:
        self.outcomes[line.outcome] += 1
        self.cost += line.cost
        if line.outcome in NEEDS_WORK:
            self.bytes_sent += sum(row.bytes for row in line.analyses)

    def as_json(self) -> dict[str, Any]:
        return {
            **{outcome.value: self.outcomes[outcome] for outcome in Outcome},
            "cost": f"{self.cost:.6f}",
            "bytes_sent": self.bytes_sent,
        }


def planned_lines(files: QuerySet[MediaFile], run: Run) -> Iterator[Line]:
    """What would become of each file; reads the rows in chunks."""
    for file in _stream(files, run):
        yield Line(file, run.provider.name, file.outcome, file.settled_error, file.settled_message)


def done_lines(files: QuerySet[MediaFile], run: Run, batch: Batch | None) -> Iterator[Line]:
    """What became of each file: by its item where it was worked on, else by its row.

    Both are read in the order of the files' ids and joined as they go by.
    """
    items = _items(batch)
    item = next(items, None)
    for file in _stream(files, run):
        while item is not None and item.file_id < file.pk:
            item = next(items, None)
        answers = [row for row in file.analyses.all() if row.is_newest and row.provider == run.provider.name]
        if item is not None and item.file_id == file.pk:
            outcome = item.outcome or item.state
            shown = [] if outcome in (Outcome.FAILED, Outcome.QUARANTINED) else answers
            yield Line(file, run.provider.name, outcome, item.error, item.message, item.attempts, shown)
        elif file.outcome not in NEEDS_WORK:
            shown = answers if file.outcome == Outcome.REUSED else []
            yield Line(
                file, run.provider.name, file.outcome, file.settled_error, file.settled_message, 0, shown
            )


def _stream(files: QuerySet[MediaFile], run: Run) -> Iterator[Any]:
    annotated = with_outcome(files, run.provider.name, run.requests, run.profile).order_by("pk")
    yield from annotated.prefetch_related("analyses").iterator(chunk_size=_CHUNK)


def _items(batch: Batch | None) -> Iterator[BatchItem]:
    return iter(()) if batch is None else batch.items.order_by("file_id").iterator(chunk_size=_CHUNK)

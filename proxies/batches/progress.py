"""How far a batch is, how fast it goes, and how long it will take."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.utils.timezone import now

from proxies.batches.counts import counts_of
from proxies.models import Batch, BatchItem
from proxies.outcomes import Outcome

# The rate is that of the last minute: what happened an hour ago says little about now.
_WINDOW: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Progress:
    """What every door shows of a batch.

    Attributes:
        counts: items by state and by outcome.
        per_second: files finished a second of late; None where none was.
        seconds_left: at that rate; None where it is unknown.
        elapsed_seconds: since it was started, until it ended.
    """

    counts: dict[str, int]
    per_second: float | None
    seconds_left: float | None
    elapsed_seconds: float

    @property
    def total(self) -> int:
        return self.counts.get("total", 0)

    @property
    def done(self) -> int:
        return self.counts.get("done", 0)

    @property
    def failed(self) -> int:
        return self.counts.get(Outcome.FAILED, 0) + self.counts.get(Outcome.QUARANTINED, 0)

    @property
    def percent(self) -> float:
        return round(100 * self.done / self.total, 1) if self.total else 100.0

    def as_json(self) -> dict[str, Any]:
        return {
            "counts": self.counts,
            "progress_percent": self.percent,
            "files_per_second": self.per_second,
            "seconds_left": self.seconds_left,
            "elapsed_seconds": self.elapsed_seconds,
        }


def progress_of(batch: Batch) -> Progress:
    """Seconds old at the most; two small queries."""
    counts = counts_of(batch)
    began = batch.started_at or batch.created_at
    elapsed = ((batch.finished_at or now()) - began).total_seconds()
    rate = _rate(batch, elapsed) if batch.state == Batch.State.RUNNING else None
    left = counts.get("queued", 0) + counts.get("running", 0)
    return Progress(
        counts=counts,
        per_second=None if rate is None else round(rate, 2),
        seconds_left=round(left / rate, 1) if rate else None,
        elapsed_seconds=round(elapsed, 1),
    )


def _rate(batch: Batch, elapsed: float) -> float | None:
    window = min(_WINDOW.total_seconds(), max(elapsed, 1.0))
    worked = BatchItem.objects.filter(
        batch=batch, finished_at__gt=max(now() - _WINDOW, batch.started_at or now()), attempts__gt=0
    ).count()
    return worked / window if worked else None

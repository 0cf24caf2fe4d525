"""The progress of a batch, its rate, and the time left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.utils.timezone import now

from proxies.batches.counts import refresh_counts
from proxies.batches.delays import Delay, delays_of
from proxies.models import Batch
from proxies.outcomes import Outcome

# No rate is shown after this many seconds without a finished file, or the time that this many files take
# at the last rate, whichever is longer.
_STILL: Final = 15.0
_FILES_MISSED: Final = 5


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress that the admin, the API and the commands show for a batch.

    Attributes:
        counts: items by state and by outcome.
        per_second: files finished per second over the last minute; None if there were none.
        seconds_left: at that rate; None if unknown.
        elapsed_seconds: since it was started, until it ended.
        delays: what its files wait for.
    """

    counts: dict[str, int]
    per_second: float | None
    seconds_left: float | None
    elapsed_seconds: float
    delays: Sequence[Delay] = ()

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
            "delays": [delay.as_json() for delay in self.delays],
        }


def progress_of(batch: Batch) -> Progress:
    """Return the progress of a batch, at most seconds old."""
    return progress_of_many([batch])[0]


def progress_of_many(batches: Sequence[Batch]) -> list[Progress]:
    """Return the progress of several batches, with as many queries as for one."""
    refresh_counts(batches)
    may_wait = [batch for batch in batches if batch.is_open and batch.counts.get("queued")]
    delays = delays_of(may_wait) if may_wait else {}
    return [_progress(batch, delays.get(batch.pk, [])) for batch in batches]


def _progress(batch: Batch, delays: Sequence[Delay]) -> Progress:
    counts = dict(batch.counts)
    began = batch.started_at or batch.created_at
    elapsed = ((batch.finished_at or now()) - began).total_seconds()
    rate = _rate(batch) if batch.state == Batch.State.RUNNING else None
    left = counts.get("queued", 0) + counts.get("running", 0)
    moves = left > sum(delay.files for delay in delays)
    return Progress(
        counts=counts,
        per_second=None if rate is None else round(rate, 2),
        seconds_left=round(left / rate, 1) if rate and moves else None,
        elapsed_seconds=round(elapsed, 1),
        delays=delays,
    )


def _rate(batch: Batch) -> float | None:
    """Return the items finished per second over the last minute's samples; None if there were none."""
    if len(batch.recent) < 2:
        return None
    (began, before), (ended, done) = batch.recent[0], batch.recent[-1]
    if done == before:
        return None
    rate = float((done - before) / (ended - began))
    last_change = next(at for at, count in batch.recent if count == done)
    # Nothing finished for several times as long as a file takes: the batch has stalled.
    return rate if ended - last_change < max(_STILL, _FILES_MISSED / rate) else None

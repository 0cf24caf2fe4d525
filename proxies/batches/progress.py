"""How far a batch is, how fast it goes, and how long it will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.utils.timezone import now

from proxies.batches.counts import refresh_counts
from proxies.batches.delays import Delay, delays_of
from proxies.models import Batch
from proxies.outcomes import Outcome

# Seconds without a finished file, and files missed, after which there is no rate any more.
_STILL: Final = 15.0
_FILES_MISSED: Final = 5


@dataclass(frozen=True, slots=True)
class Progress:
    """What every door shows of a batch.

    Attributes:
        counts: items by state and by outcome.
        per_second: files finished a second of late; None where none was.
        seconds_left: at that rate; None where it is unknown.
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
    """Seconds old at the most."""
    return progress_of_many([batch])[0]


def progress_of_many(batches: Sequence[Batch]) -> list[Progress]:
    """The same of several batches, by as many queries as for one."""
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
    """Items finished a second over the samples of the last minute; None where they show none."""
    if len(batch.recent) < 2:
        return None
    (began, before), (ended, done) = batch.recent[0], batch.recent[-1]
    if done == before:
        return None
    rate = float((done - before) / (ended - began))
    last_change = next(at for at, count in batch.recent if count == done)
    # Several times what a file takes, and nothing was finished: it stands still.
    return rate if ended - last_change < max(_STILL, _FILES_MISSED / rate) else None

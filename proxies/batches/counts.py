"""Counts of a batch's items, computed rarely and cached in its row."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final

from django.db.models import Count, Q
from django.utils.timezone import now

from proxies.models import Batch, BatchItem

# A count is repeated once it is older than this many times the seconds that it took, and older than this
# many seconds. Ten people who watch a page cause no more counting than one.
_AGE_PER_COST: Final = 40
_LEAST_AGE: Final = 1.0
# Set when a batch ends or is reopened, so that an earlier count is not mistaken for the final one.
# (Comparing times would not work: a clock may be set back.)
UNCOUNTED: Final[dict[str, Any]] = {"counted_at": None}
# Seconds over which the rate is measured: older samples say little about the current rate.
WINDOW: Final = 60.0


def counts_of(batch: Batch, *, exact: bool = False) -> dict[str, int]:
    """Return the number of items by state and by outcome; at most seconds old, or current if ``exact``."""
    refresh_counts([batch], exact=exact)
    return dict(batch.counts)


def refresh_counts(batches: Iterable[Batch], *, exact: bool = False) -> None:
    """Bring the counts of several batches up to date, with at most two statements for all of them."""
    stale = [batch for batch in batches if not _is_fresh(batch, exact=exact)]
    if not stale:
        return
    began, counted_at = time.perf_counter(), now()
    rows = (
        BatchItem.objects.filter(batch__in=stale)
        .order_by()
        .values_list("batch", "state", "outcome")
        .annotate(items=Count("*"))
    )
    counts = {batch.pk: {"total": 0, "queued": 0, "running": 0, "done": 0} for batch in stale}
    for batch_id, state, outcome, items in rows:
        of_batch = counts[batch_id]
        of_batch["total"] += items
        of_batch[state] += items
        if outcome:
            of_batch[outcome] = of_batch.get(outcome, 0) + items
    seconds = round(time.perf_counter() - began, 4)
    for batch in stale:
        batch.counts, batch.counted_at, batch.counting_seconds = counts[batch.pk], counted_at, seconds
        batch.recent = _recent(batch, counted_at.timestamp())
    # A batch that ended or was reopened meanwhile stays uncounted: see `UNCOUNTED`.
    is_as_counted = Q()
    for batch in stale:
        is_as_counted |= Q(pk=batch.pk, state=batch.state)
    counted = Batch.objects.filter(is_as_counted)
    counted.bulk_update(stale, ["counts", "counted_at", "counting_seconds", "recent"])


def _recent(batch: Batch, moment: float) -> list[tuple[float, int]]:
    """Return the samples of the last minute plus the current one, each at least a second after the previous.

    Samples that lie in the future because a clock was set back are dropped.
    """
    samples = [(at, done) for at, done in batch.recent if moment - WINDOW < at <= moment]
    if samples and moment - samples[-1][0] < _LEAST_AGE:
        return samples
    return [*samples, (moment, batch.counts["done"])]


def _is_fresh(batch: Batch, *, exact: bool) -> bool:
    if batch.counted_at is None:
        return False
    if not batch.is_open and not batch.counts.get("running"):
        # Counted after its end, with no item running: these counts are final.
        return True
    age = (now() - batch.counted_at).total_seconds()
    # Negative if the clock was set back.
    return not exact and 0 <= age < max(_LEAST_AGE, _AGE_PER_COST * batch.counting_seconds)

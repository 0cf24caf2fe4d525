"""How far a batch is: counted from its items, seldom, and kept in its row."""

from __future__ import annotations

import time
from typing import Final

from django.db.models import Count
from django.utils.timezone import now

from proxies.models import Batch, BatchItem

# A count is made anew when it is older than this many times what its making took, and than this many
# seconds: a page that is looked at by ten people counts no more often than one.
_AGE_PER_COST: Final = 40
_LEAST_AGE: Final = 1.0


def counts_of(batch: Batch, *, exact: bool = False) -> dict[str, int]:
    """How many items are in each state and of each outcome; at most seconds old unless ``exact``."""
    settled = not batch.is_open and batch.counted_at and batch.finished_at
    if settled and batch.counted_at >= batch.finished_at:  # type: ignore[operator]
        return dict(batch.counts)
    if not exact and batch.counted_at is not None:
        age = (now() - batch.counted_at).total_seconds()
        if age < max(_LEAST_AGE, _AGE_PER_COST * batch.counting_seconds):
            return dict(batch.counts)
    return _count(batch)


def _count(batch: Batch) -> dict[str, int]:
    began = time.perf_counter()
    counted_at = now()
    rows = (
        BatchItem.objects.filter(batch=batch)
        .order_by()
        .values_list("state", "outcome")
        .annotate(items=Count("*"))
    )
    counts = {"total": 0, "queued": 0, "running": 0, "done": 0}
    for state, outcome, items in rows:
        counts["total"] += items
        counts[state] += items
        if outcome:
            counts[outcome] = counts.get(outcome, 0) + items
    batch.counts, batch.counted_at = counts, counted_at
    batch.counting_seconds = round(time.perf_counter() - began, 4)
    batch.save(update_fields=["counts", "counted_at", "counting_seconds"])
    return counts

"""A claim on a few items of a batch: what its holder may do with them, and nobody else."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from django.db import connection, transaction
from django.db.models import F
from django.utils.timezone import now

from media_files.errors import MediaError, Quarantined
from proxies.holders import this_holder
from proxies.models import Batch, BatchItem, BatchItemQuerySet
from proxies.outcomes import Outcome

# Above the 120 s after which the queue ends a task; made anew for each item that is begun.
ITEM_LEASE: Final = timedelta(minutes=5)
# Storage, network or database: tried again after 2, 4, 8 ... s, at most ten minutes apart. Thirty
# tries span four hours of outage; then the item fails, and "retry failed" takes it up again.
MAX_TRANSIENT_FAILURES: Final = 30
_FIRST_DELAY: Final = 2.0
_LONGEST_DELAY: Final = 600.0

UNLEASED: Final[dict[str, Any]] = {"lease_token": None, "lease_holder": "", "lease_until": None}


class Work:
    """Items of one batch under one lease token.

    Every write carries the token: who lost the lease, because he was taken for dead or because the
    batch was cancelled, changes nothing any more.
    """

    def __init__(
        self, batch: Batch, token: UUID, items: list[BatchItem], is_time_up: Callable[[], bool]
    ) -> None:
        """``is_time_up`` is asked before each item but the first; then no further one is begun."""
        self.batch = batch
        self.items = items
        self._token = token
        self._is_time_up = is_time_up
        self._unsettled = {item.pk for item in items}
        self._charged: set[int] = set()

    def __iter__(self) -> Iterator[BatchItem]:
        """The items one after the other, until the time is up or the batch runs no longer.

        The first is always given, so that every slice brings its batch on.
        """
        for number, item in enumerate(self.items):
            if number and self._is_over():
                return
            yield item

    def charge(self, item: BatchItem) -> bool:
        """Count an attempt, just before the decode that may kill this process. False: lease lost."""
        charged = self._ours(item).update(attempts=F("attempts") + 1, lease_until=now() + ITEM_LEASE)
        if charged:
            self._charged.add(item.pk)
        return bool(charged)

    def record(self, item: BatchItem, outcome: Outcome, reasons: list[str]) -> bool:
        """The item's end, in the transaction of its result. False: lease lost, nothing was written."""
        return self._settle(item, outcome=outcome.value, reasons=reasons, error="", message="")

    def fail(self, item: BatchItem, error: MediaError) -> None:
        """The item's end by a fault of its file; a fault of something else lets it come back later."""
        if error.transient and item.transient_failures + 1 < MAX_TRANSIENT_FAILURES:
            self._put_off(item, error)
            return
        outcome = Outcome.QUARANTINED if isinstance(error, Quarantined) else Outcome.FAILED
        self._settle(item, outcome=outcome.value, error=error.code, message=str(error))

    def put_back(self, item: BatchItem, *, after: timedelta = timedelta(0), **values: Any) -> None:
        """Give an item back uncharged, to be begun again, by whomever, ``after`` some time."""
        self._unsettled.discard(item.pk)
        attempts = F("attempts") - 1 if item.pk in self._charged else F("attempts")
        self._ours(item).update(
            state=BatchItem.State.QUEUED, available_at=now() + after, attempts=attempts, **UNLEASED, **values
        )

    def put_back_the_rest(self) -> None:
        """Give back, uncharged, what was not come to."""
        for item in self.items:
            if item.pk in self._unsettled:
                self.put_back(item)

    def _put_off(self, item: BatchItem, error: MediaError) -> None:
        delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2**item.transient_failures)
        # Spread, so that a storage that comes back is not met by all at once.
        delay *= random.uniform(0.8, 1.2)  # noqa: S311 - no secret
        self.put_back(
            item,
            after=timedelta(seconds=delay),
            transient_failures=F("transient_failures") + 1,
            error=error.code,
            message=str(error),
        )

    def _settle(self, item: BatchItem, **values: Any) -> bool:
        self._unsettled.discard(item.pk)
        done = BatchItem.State.DONE
        return bool(self._ours(item).update(state=done, finished_at=now(), **UNLEASED, **values))

    def _ours(self, item: BatchItem) -> BatchItemQuerySet:
        return BatchItem.objects.filter(pk=item.pk, lease_token=self._token, state=BatchItem.State.RUNNING)

    def _is_over(self) -> bool:
        return (
            self._is_time_up()
            or not Batch.objects.filter(pk=self.batch.pk, state=Batch.State.RUNNING).exists()
        )


def claim(batch: Batch, most: int, is_time_up: Callable[[], bool]) -> Work | None:
    """Take up to ``most`` items that wait, by one conditional UPDATE; None where none does."""
    token = uuid4()
    waiting = BatchItem.objects.claimable().filter(batch=batch).order_by("id")
    if connection.features.has_select_for_update_skip_locked:
        # Several claimers at one moment pass by each other's rows instead of waiting for them.
        waiting = waiting.select_for_update(skip_locked=True)
    with transaction.atomic():
        claimed = BatchItem.objects.filter(
            pk__in=list(waiting.values_list("pk", flat=True)[:most]), state=BatchItem.State.QUEUED
        ).update(
            state=BatchItem.State.RUNNING,
            lease_token=token,
            lease_holder=this_holder(),
            lease_until=now() + ITEM_LEASE,
        )
    if not claimed:
        return None
    items = list(
        BatchItem.objects.filter(batch=batch, lease_token=token, state=BatchItem.State.RUNNING).order_by("id")
    )
    return Work(batch, token, items, is_time_up)

"""A claim on items of a batch: what its holder may do with them, and nobody else."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from django.db import connection, transaction
from django.db.models import Case, F, When
from django.utils.timezone import now

from media_files.errors import MediaError, Quarantined
from media_files.models import MediaFile
from proxies.holders import this_holder
from proxies.models import Batch, BatchItem, BatchItemQuerySet, Quarantine
from proxies.outcomes import Outcome

# How many items are claimed together: few, so that what is claimed and not come to is little.
CLAIM: Final = 4
# Above the 120 s after which the queue ends a task; made anew for each item that is begun.
ITEM_LEASE: Final = timedelta(minutes=5)
# Killed as often while a file was in hand, the file is taken for the killer.
MAX_ATTEMPTS: Final = 3
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

    def __init__(self, batch: Batch, is_time_up: Callable[[], bool]) -> None:
        """``is_time_up`` is asked before each item but the first; then no further one is begun."""
        self.batch = batch
        self.taken = 0
        self._token: UUID = uuid4()
        self._is_time_up = is_time_up
        self._unsettled: dict[int, BatchItem] = {}
        self._in_hand: set[int] = set()
        self._decoded: set[int] = set()

    def __iter__(self) -> Iterator[BatchItem]:
        """The batch's items one after the other, until none waits, the time is up, or the batch is
        paused or ended. The first is always given, so that every slice brings its batch on."""
        while items := self._claim():
            for item in items:
                if self.taken and self._is_over():
                    return
                self.taken += 1
                yield item

    def charge(self, item: BatchItem) -> bool:
        """Count an attempt, just before the decode that may kill this process. False: lease lost.

        The same statement takes the charge from those that were decoded and are still being stored:
        should this one kill the process, it was none of them.
        """
        survivors = self._in_hand & self._unsettled.keys()
        held = self._held([item.pk, *survivors])
        one_more = When(pk=item.pk, then=F("attempts") + 1)
        charged = held.update(
            attempts=Case(one_more, default=F("attempts") - 1), lease_until=now() + ITEM_LEASE
        )
        self._decoded |= survivors
        self._in_hand = {item.pk}
        # One token holds them all: a lease that was lost was lost for all of them.
        return charged > 0 and (charged > len(survivors) or held.filter(pk=item.pk).exists())

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

    def crashed(self, item: BatchItem, fault: BaseException) -> None:
        """Something that has no name broke on this item: the attempt counts, as that of a killed one."""
        if item.attempts + 1 >= MAX_ATTEMPTS:
            self._unsettled.pop(item.pk, None)
            quarantine(item, self._ours(item), f"{type(fault).__name__}: {fault}")
        else:
            self._in_hand.discard(item.pk)
            self.put_back(item, after=timedelta(seconds=_FIRST_DELAY))

    def put_back(self, item: BatchItem, *, after: timedelta = timedelta(0), **values: Any) -> None:
        """Give an item back uncharged, to be begun again, by whomever, ``after`` some time.

        Without such a time it keeps its place among those that wait.
        """
        self._unsettled.pop(item.pk, None)
        charges = 1 if item.pk in self._in_hand else 0
        if after:
            values["available_at"] = now() + after
        self._ours(item).update(
            state=BatchItem.State.QUEUED,
            attempts=F("attempts") - charges,
            **UNLEASED,
            **values,
        )

    def put_back_the_rest(self) -> None:
        """Give back, uncharged, what was not come to."""
        for item in list(self._unsettled.values()):
            self.put_back(item)

    def _claim(self) -> list[BatchItem]:
        """Take a few items that wait, by one conditional UPDATE.

        The condition is that nobody holds them, not that they wait, which a planner whose statistics are
        old would look up in the index of all that wait. (Nor can they be done by now: PostgreSQL has
        locked the rows, SQLite the database.)
        """
        waiting = BatchItem.objects.claimable().filter(batch=self.batch)
        if connection.features.has_select_for_update_skip_locked:
            # Several claimers at one moment pass by each other's rows instead of waiting for them.
            waiting = waiting.select_for_update(skip_locked=True)
        with transaction.atomic():
            ids = list(waiting.values_list("pk", flat=True)[:CLAIM])
            held = BatchItem.objects.filter(pk__in=ids)
            held.filter(lease_token=None).update(
                state=BatchItem.State.RUNNING,
                lease_token=self._token,
                lease_holder=this_holder(),
                lease_until=now() + ITEM_LEASE,
            )
            items = list(held.filter(lease_token=self._token).order_by("available_at", "id"))
        self._unsettled |= {item.pk: item for item in items}
        return items

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
        self._unsettled.pop(item.pk, None)
        charges = 1 if item.pk in self._decoded else 0
        # The holder stays: who did it is worth knowing.
        return bool(
            self._ours(item).update(
                state=BatchItem.State.DONE,
                attempts=F("attempts") + charges,
                lease_token=None,
                lease_until=None,
                finished_at=now(),
                **values,
            )
        )

    def _ours(self, item: BatchItem) -> BatchItemQuerySet:
        return self._held([item.pk])

    def _held(self, ids: Iterable[int]) -> BatchItemQuerySet:
        # Only what is running has a token; to ask for the state as well would lead to the index of that.
        return BatchItem.objects.filter(pk__in=list(ids), lease_token=self._token)

    def _is_over(self) -> bool:
        if self._is_time_up():
            return True
        return not Batch.objects.filter(pk=self.batch.pk, state=Batch.State.RUNNING).exists()


def quarantine(item: BatchItem, held: BatchItemQuerySet, cause: str) -> int:
    """Set a file apart that ended its process too often; ``held`` is its item, if it is still ours."""
    message = (
        f"Making its proxy broke off {MAX_ATTEMPTS} times ({cause}). It is left alone until somebody "
        "releases it from quarantine, in the admin or by retrying what failed."
    )
    with transaction.atomic():
        set_apart = held.update(
            state=BatchItem.State.DONE,
            outcome=Outcome.QUARANTINED.value,
            error=Quarantined.code,
            message=message,
            finished_at=now(),
            **UNLEASED,
        )
        source = MediaFile.objects.filter(pk=item.file_id).first()
        if set_apart and source is not None:
            Quarantine.objects.update_or_create(
                source=source, defaults={"fingerprint": source.fingerprint, "message": message}
            )
    return int(set_apart)

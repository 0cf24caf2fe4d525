"""A claim on items of a batch: the operations on them that only the claim's holder may perform."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID, uuid4

from django.db import connection, transaction
from django.db.models import Case, F, IntegerField, Value, When
from django.utils.timezone import now

from media_files.database import OUTAGES
from media_files.errors import MediaError, Quarantined, StorageError, Unexpected
from media_files.models import MediaFile
from proxies.batches import delays, recipes, repeated_errors
from proxies.batches.requeue import requeue
from proxies.models import Batch, BatchItem, BatchItemQuerySet, Quarantine
from proxies.outcomes import Outcome
from proxies.processes.control_dir import stop_is_asked
from proxies.processes.liveness import this_holder

logger = logging.getLogger(__name__)

# Items claimed together: few, so that few claimed items are put back unprocessed.
CLAIM: Final = 4
# Longer than the 120 s after which the queue ends a task; renewed for each item that is started.
ITEM_LEASE: Final = timedelta(minutes=5)
# After this many kills while the same file was in work, the file is considered the cause.
MAX_ATTEMPTS: Final = 3
# Storage, network or database errors: retried after 2, 4, 8 ... s, at most ten minutes apart.
_FIRST_DELAY: Final = 2.0
_LONGEST_DELAY: Final = 600.0

UNLEASED: Final[dict[str, Any]] = {
    "lease_token": None,
    "lease_holder": "",
    "lease_until": None,
    "is_charged": False,
}
# The attempts without the one counted under the current lease, if one was.
WITHOUT_CHARGE: Final = Case(
    When(is_charged=True, then=F("attempts") - 1), default=F("attempts"), output_field=IntegerField()
)


class Claim:
    """Items of one batch under one lease token.

    Every write checks the token: a worker that lost its lease, because it was presumed dead or because the
    batch was cancelled, can change nothing.
    """

    def __init__(
        self,
        batch: Batch,
        is_time_up: Callable[[], bool],
        *,
        is_stopping: Callable[[], bool] = stop_is_asked,
        last_item: int | None = None,
    ) -> None:
        """Prepare a claim; items are claimed while iterating.

        Args:
            batch: whose items are claimed.
            is_time_up: whether to start no further item; called before each item except the first.
            is_stopping: whether this process must end, so that no further step of an item starts, either.
            last_item: only items up to this id are claimed.
        """
        self.batch = batch
        self.is_stopping = is_stopping
        self._last_item = last_item
        self.taken = 0
        self._token: UUID = uuid4()
        self._is_time_up = is_time_up
        self._unsettled: dict[int, BatchItem] = {}
        self._at_risk: set[int] = set()
        self._tried: set[int] = set()
        # Whether the last attempts of all workers, as far as this process knows, failed with the same error.
        self._fails_alike = batch.alike > 0

    def __iter__(self) -> Iterator[BatchItem]:
        """Yield the batch's items one by one until none is waiting, the time is up, or the batch is paused
        or ended. The first is always yielded, so that every tick makes progress on its batch."""
        while items := self._claim():
            for item in items:
                if self.taken and self.is_over():
                    return
                self.taken += 1
                yield item

    def charge(self, item: BatchItem) -> bool:
        """Count an attempt just before work that may kill this process. Return False if the lease was lost.

        The same statement uncounts the attempts of items that survived that work and are still being stored.
        While the worker is being stopped, no attempt is counted: a kill that ends a stop is no file's fault.
        """
        survivors = self._at_risk & self._unsettled.keys()
        held = self._held([item.pk, *survivors])
        counts = not stop_is_asked()
        one_more = When(pk=item.pk, is_charged=False, then=F("attempts") + int(counts))
        kept = When(pk=item.pk, then=F("attempts"))
        charged = held.update(
            attempts=Case(one_more, kept, default=WITHOUT_CHARGE, output_field=IntegerField()),
            is_charged=Case(When(pk=item.pk, then=Value(counts)), default=Value(False)),
            lease_until=now() + ITEM_LEASE,
        )
        self._at_risk = {item.pk}
        self._tried.add(item.pk)
        # All items share one token, so a lost lease is lost for all of them.
        return charged > 0 and (charged > len(survivors) or held.filter(pk=item.pk).exists())

    def survived(self, item: BatchItem) -> None:
        """Uncount the attempt: work that may kill this process is over, and waiting for a service begins."""
        self._at_risk.discard(item.pk)
        self._ours(item).update(attempts=WITHOUT_CHARGE, is_charged=False)

    def record(self, item: BatchItem, outcome: Outcome, reasons: list[str]) -> bool:
        """Finish the item, in the transaction of its result. Return False, with nothing written, if the lease
        was lost."""
        if self._fails_alike:
            repeated_errors.note_progress(self.batch)
            self._fails_alike = False
        return self._settle(item, outcome=outcome.value, reasons=reasons, error="", message="")

    def fail(self, item: BatchItem, error: MediaError) -> None:
        """Finish the item as failed; delay it instead if the error is transient and tries are left."""
        if error.transient and item.transient_failures + 1 < error.most_tries:
            self._put_off(item, error)
        else:
            outcome = Outcome.QUARANTINED if isinstance(error, Quarantined) else Outcome.FAILED
            self._settle(item, outcome=outcome.value, error=error.code, message=str(error))
        self._note(item, error)

    def failed(self, item: BatchItem, fault: BaseException) -> None:
        """Count and delay an item that ended in an unexpected exception, before anything else happens.

        Raises:
            BaseException: ``fault`` itself, if the next item would hit it too: the database does not
                respond, or this process must end.
        """
        if isinstance(fault, OUTAGES):
            with suppress(*OUTAGES):
                self.fail(item, StorageError(f"The database did not answer ({fault}). It is tried again."))
            raise fault
        if isinstance(fault, KeyboardInterrupt) or (stop_is_asked() and not isinstance(fault, Exception)):
            raise fault
        if isinstance(fault, Exception) or item.pk in self._at_risk:
            logger.error("Work on file %s ended unexpectedly", item.file_id, exc_info=fault)
            self.crashed(item, fault)
        else:
            self.fail(item, StorageError("Reading or storing took longer than a task may take."))
        if not isinstance(fault, Exception):  # the queue's time limit, which ends this task
            raise fault

    def crashed(self, item: BatchItem, fault: BaseException) -> None:
        """Count an attempt for an unexpected exception; the third quarantines the file.

        Every failure counts once, whether its attempt was counted before or not.
        """
        attempts = item.attempts + 1
        cause = f"{type(fault).__name__}: {fault}"
        if attempts >= MAX_ATTEMPTS:
            self._forget(item)
            quarantine(item, self._ours(item), cause, attempts=attempts)
            return
        error = Unexpected(f"Work on this file failed unexpectedly ({cause}). It is tried again.")
        delays.tell(self.batch, error)
        delay = timedelta(seconds=_FIRST_DELAY * 2**item.attempts)
        self.put_back(item, after=delay, attempts=attempts, error=error.code, message=str(error))
        self._note(item, error)

    def put_back(self, item: BatchItem, *, after: timedelta = timedelta(0), **values: Any) -> None:
        """Requeue an item for any worker, available ``after`` a delay.

        Its attempt is not counted unless ``values`` say so. Without a delay it keeps its place in the queue.
        """
        if after:
            values["available_at"] = now() + after
        values = {"attempts": item.attempts, **values}
        requeue(self._ours(item), **UNLEASED, **values)
        self._forget(item)

    def put_back_the_rest(self) -> None:
        """Requeue the items that were not reached, without counting an attempt."""
        for item in list(self._unsettled.values()):
            self.put_back(item)

    def _claim(self) -> list[BatchItem]:
        """Claim a few waiting items of this process's recipe, else of those that any process may take."""
        own = recipes.of_batch(self.batch)
        return self._claim_of(own) or (self._claim_of(recipes.ANY) if own else [])

    def _claim_of(self, recipe: str) -> list[BatchItem]:
        """Claim a few items of one recipe with one conditional UPDATE.

        The condition is that no process holds them, not that they are queued: for the latter, a planner with
        outdated statistics would scan the index of all queued items. (They cannot be done by now either:
        PostgreSQL has locked the rows, SQLite the database.)
        """
        waiting = BatchItem.objects.claimable(recipe).filter(batch=self.batch)
        if self._last_item is not None:
            waiting = waiting.filter(pk__lte=self._last_item)
        if connection.features.has_select_for_update_skip_locked:
            # Concurrent claims skip each other's rows instead of waiting for them.
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
        delays.tell(self.batch, error)
        delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2**item.transient_failures)
        # Jitter, so that a storage that has just recovered does not get all retries at once.
        delay *= random.uniform(0.8, 1.2)  # noqa: S311 - no secret
        self.put_back(
            item,
            after=timedelta(seconds=delay),
            transient_failures=F("transient_failures") + 1,
            error=error.code,
            message=str(error),
        )

    def _note(self, item: BatchItem, error: MediaError) -> None:
        if repeated_errors.note_failure(self.batch, item.file_id, error):
            self._fails_alike = True
        elif error.blames_file and self._fails_alike:
            # Its bytes were read and found faulty, so files can be processed.
            repeated_errors.note_progress(self.batch)
            self._fails_alike = False

    def _settle(self, item: BatchItem, **values: Any) -> bool:
        self._forget(item)
        # The holder is kept, to show which process did the work.
        return bool(
            self._ours(item).update(
                state=BatchItem.State.DONE,
                attempts=item.attempts + (item.pk in self._tried),
                is_charged=False,
                lease_token=None,
                lease_until=None,
                finished_at=now(),
                **values,
            )
        )

    def _forget(self, item: BatchItem) -> None:
        """Drop the item from the unsettled ones on commit: if the transaction fails, it must be put back."""
        transaction.on_commit(partial(self._unsettled.pop, item.pk, None))

    def _ours(self, item: BatchItem) -> BatchItemQuerySet:
        return self._held([item.pk])

    def _held(self, ids: Iterable[int]) -> BatchItemQuerySet:
        # Only running items have a token; filtering by state as well would make the planner use that index.
        return BatchItem.objects.filter(pk__in=list(ids), lease_token=self._token)

    def is_over(self) -> bool:
        """Return whether no further item should be started."""
        if self._is_time_up():
            return True
        alike_now = Batch.objects.filter(pk=self.batch.pk, state=Batch.State.RUNNING).values_list("alike")
        found = alike_now.first()
        self._fails_alike = self._fails_alike or bool(found and found[0])
        return found is None


def quarantine(item: BatchItem, held: BatchItemQuerySet, cause: str, *, attempts: int) -> int:
    """Quarantine a file that failed too often; ``held`` selects its item if this process still holds it."""
    operation = item.batch.operation
    message = (
        f"The operation {operation} failed on this file {attempts} times ({cause}). It is skipped until "
        "it is released from quarantine, in the admin or by retrying failed items."
    )
    with transaction.atomic():
        set_apart = held.update(
            state=BatchItem.State.DONE,
            outcome=Outcome.QUARANTINED.value,
            error=Quarantined.code,
            message=message,
            attempts=attempts,
            finished_at=now(),
            **UNLEASED,
        )
        source = MediaFile.objects.select_for_update(no_key=True).filter(pk=item.file_id).first()
        if set_apart and source is not None:
            Quarantine.objects.update_or_create(
                source=source,
                operation=operation,
                defaults={"fingerprint": source.fingerprint, "message": message},
            )
    return int(set_apart)

"""The lifecycle of a batch: start, pause, resume, cancel, retry, finish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils.timezone import now

from media_files.errors import MediaError
from proxies import signals
from proxies.batches import operations, recipes, worker_slots
from proxies.batches.counts import UNCOUNTED, refresh_counts
from proxies.batches.enqueue import insert_items, refresh_statistics
from proxies.batches.plan import Plan
from proxies.batches.requeue import requeue
from proxies.batches.selection import Selection
from proxies.conf import conf
from proxies.models import Batch, BatchItem, Quarantine, WorkerState
from proxies.outcomes import NEEDS_WORK, Outcome
from proxies.processes.liveness import is_alive, is_dead, this_holder

if TYPE_CHECKING:
    from django.contrib.auth.models import User


# Characters: a reason quotes a service's error, which may be long, and says what to do.
_LONGEST_REASON: Final = 1000
_NOT_PAUSED: Final[dict[str, Any]] = {"paused_reason": "", "paused_code": "", "alike": 0, "alike_code": ""}


class WrongState(Exception):
    """The batch's state does not allow this change."""


def plan(operation: str, selection: Selection, parameters: Mapping[str, Any]) -> Plan:
    """Return what `start` would do, without writing. Admin, API and commands share this.

    Raises:
        UnknownOperation: there is none of that name.
    """
    return operations.get(operation).plan(selection, parameters)


def start(
    operation: str,
    selection: Selection,
    parameters: Mapping[str, Any],
    *,
    by: User | None = None,
    executor: Batch.Executor = Batch.Executor.QUEUE,
    with_settled: bool = True,
    planned: Plan | None = None,
) -> Batch:
    """Create a batch with its items, and wake workers for it.

    Files whose outcome is known from their rows are added in their final state, unless ``with_settled`` is
    False. No worker takes items of a batch before it is complete.

    Raises:
        UnknownOperation: there is none of that name.
    """
    batch = Batch.objects.create(
        operation=operations.get(operation).name,
        parameters=dict(parameters),
        executor=executor,
        created_by=by,
        holder=this_holder(),
        plan=planned.as_json() if planned else {},
    )
    pages = 0
    for page in selection.pages():
        pages += 1
        files = operations.get(operation).annotate(page, batch.parameters)
        if not with_settled:
            files = files.filter(outcome__in=[outcome.value for outcome in NEEDS_WORK])
        with transaction.atomic():
            insert_items(batch, files)
    if pages > 1:
        refresh_statistics()
    workers = WorkerState.objects.alive() if executor == Batch.Executor.QUEUE else []
    whole = Batch.objects.filter(pk=batch.pk, state__in=Batch.OPEN_STATES)
    whole.update(started_at=now(), **recipes.hindrance(batch, workers))
    batch.refresh_from_db()
    refresh_counts([batch], exact=True)
    finish_if_done(batch)
    if batch.executor == Batch.Executor.QUEUE and batch.is_open:
        worker_slots.wake(worker_slots.slot_count())
    return batch


def add_to_uploads(source_id: int, reasons: Sequence[str] = ()) -> None:
    """Enqueue a saved file ahead of all batches: add an item in the caller's transaction, and wake a worker
    after the commit. A file that is already waiting there is not added again."""
    batch_id = _uploads_id()
    item = BatchItem(batch_id=batch_id, file_id=source_id, reasons=list(reasons), recipe=conf().nova.recipe)
    BatchItem.objects.bulk_create([item], ignore_conflicts=True)
    transaction.on_commit(worker_slots.wake, robust=True)


def note_failure(source_id: int, error: MediaError, reasons: Sequence[str] = ()) -> None:
    """Record among the uploads a file that was tried at once and failed, so that people can see why."""
    BatchItem.objects.create(
        batch_id=_uploads_id(),
        file_id=source_id,
        state=BatchItem.State.DONE,
        outcome=Outcome.FAILED,
        reasons=list(reasons),
        error=error.code,
        message=str(error),
        attempts=1,
        finished_at=now(),
    )


def pause(
    batch: Batch,
    *,
    by: User | None = None,
    reason: str = "",
    code: str = "",
    parameters: Mapping[str, Any] | None = None,
) -> None:
    """Pause a batch: no further item starts, running ones finish. ``code`` is the error that paused it.

    ``parameters`` are those that led to the error. A batch that was resumed with others keeps running.

    Raises:
        WrongState: it is not running, or not with these parameters.
    """
    values = {"paused_reason": reason[:_LONGEST_REASON], "paused_code": code}
    with transaction.atomic():
        _lock(batch)
        if parameters is not None and batch.parameters != parameters:
            raise WrongState(f"{batch.job_id} was resumed with other parameters.")
        _change(batch, [Batch.State.RUNNING], Batch.State.PAUSED, by, **values)


def resume(batch: Batch, *, by: User | None = None, new_parameters: Mapping[str, Any] | None = None) -> None:
    """Resume a paused batch; ``new_parameters`` replaces parameters that its operation allows to change.

    A batch that was paused because no worker has its recipe resumes with this process's recipe.

    Raises:
        WrongState: it is not paused.
        FixedParameter: one of those parameters cannot be changed.
    """
    with transaction.atomic():
        _lock(batch)
        values: dict[str, Any] = {**_NOT_PAUSED, **_executor(batch)}
        if new_parameters:
            values["parameters"] = operations.get(batch.operation).changed(batch.parameters, new_parameters)
        had_wrong_recipe = batch.paused_code == recipes.WRONG_RECIPE
        _change(batch, [Batch.State.PAUSED], Batch.State.RUNNING, by, **values)
        if had_wrong_recipe:
            recipes.adopt(batch)
    finish_if_done(batch)
    if batch.executor == Batch.Executor.QUEUE and batch.is_open:
        worker_slots.wake(worker_slots.slot_count())


def cancel(batch: Batch, *, by: User | None = None, reason: str = "") -> None:
    """Cancel a batch. Finished proxies are kept; running items finish.

    Raises:
        WrongState: it has already ended.
    """
    _change(
        batch,
        list(Batch.OPEN_STATES),
        Batch.State.CANCELLED,
        by,
        finished_at=now(),
        paused_reason=reason[:_LONGEST_REASON],
        paused_code="",
        **UNCOUNTED,
    )


def retry_failed(batch: Batch, *, by: User | None = None) -> int:
    """Reset the failed and quarantined items of a batch and requeue them; return how many.

    Raises:
        WrongState: it was cancelled, or nothing in it has failed.
    """
    failed = batch.items.filter(state=BatchItem.State.DONE, outcome__in=[Outcome.FAILED, Outcome.QUARANTINED])
    if not failed.exists():
        raise WrongState(f"Nothing in {batch.job_id} has failed.")
    states = [state for state in Batch.State if state != Batch.State.CANCELLED]
    with transaction.atomic():
        _lock(batch)
        again: dict[str, Any] = {"finished_at": None, **UNCOUNTED, **_NOT_PAUSED, **_executor(batch)}
        _change(batch, states, Batch.State.RUNNING, by, **again)
        operation = operations.get(batch.operation)
        held = Quarantine.objects.filter(operation__in=[operation.name, *operation.uses])
        held.filter(source__in=failed.values("file")).delete()
        count = requeue(
            failed,
            outcome="",
            error="",
            message="",
            attempts=0,
            transient_failures=0,
            available_at=now(),
            finished_at=None,
        )
        if not count:
            raise WrongState(f"Nothing in {batch.job_id} has failed.")
        # A running command makes its whole batch with its own settings.
        if batch.executor == Batch.Executor.QUEUE:
            recipes.adopt(batch)
    refresh_counts([batch], exact=True)
    if batch.executor == Batch.Executor.QUEUE:
        worker_slots.wake(worker_slots.slot_count())
    return count


def possible_changes(batch: Batch, *, has_failures: bool) -> list[str]:
    """Return which of the changes above the batch's state allows, so that pages and API offer only those."""
    if batch.standing:
        return []
    changes = {Batch.State.RUNNING: ["pause", "cancel"], Batch.State.PAUSED: ["resume", "cancel"]}
    retry = has_failures and batch.state != Batch.State.CANCELLED
    return [*changes.get(Batch.State(batch.state), []), *(["retry_failed"] if retry else [])]


def finish_if_done(batch: Batch) -> bool:
    """Complete the batch if no item is left to do; return whether this call completed it."""
    items = BatchItem.objects.filter(batch=batch).unfinished()
    if batch.standing or items.exists():
        return False
    with transaction.atomic():
        # Code that requeues items changes the batch's row first, so once it is locked, this check is final.
        unfinished = Batch.objects.filter(pk=batch.pk, state=Batch.State.RUNNING, started_at__isnull=False)
        if unfinished.select_for_update().first() is None or items.exists():
            return False
        unfinished.update(state=Batch.State.COMPLETED, finished_at=now(), **UNCOUNTED)
        batch.refresh_from_db()
        transaction.on_commit(partial(signals.batch_finished.send_robust, Batch, batch=batch), robust=True)
    return True


def finish_stragglers() -> None:
    """Complete batches not checked after their last item; cancel those whose creation never finished."""
    running = Batch.objects.filter(state=Batch.State.RUNNING, standing=None)
    unfinished = BatchItem.objects.filter(batch=OuterRef("pk")).unfinished()
    for batch in running.filter(~Exists(unfinished), started_at__isnull=False):
        finish_if_done(batch)
    for batch in running.filter(started_at=None):
        if is_dead(batch.holder) or batch.created_at < now() - timedelta(hours=6):
            # Only if its creation has not been completed in the meantime.
            Batch.objects.filter(pk=batch.pk, state__in=Batch.OPEN_STATES, started_at=None).update(
                state=Batch.State.CANCELLED,
                finished_at=now(),
                paused_reason="The process that was writing this batch ended before it was whole.",
                **UNCOUNTED,
            )


def _lock(batch: Batch) -> None:
    """Lock the batch's row until the end of the transaction, and reload it."""
    batch.refresh_from_db(from_queryset=Batch.objects.select_for_update())


def _executor(batch: Batch) -> dict[str, Batch.Executor]:
    """Return the change that hands a command's batch to the queue's workers if that command has ended."""
    is_left = batch.holder != this_holder() and not is_alive(batch.holder)
    return {"executor": Batch.Executor.QUEUE} if batch.executor == Batch.Executor.LOCAL and is_left else {}


def _change(
    batch: Batch,
    allowed: Sequence[Batch.State],
    state: Batch.State,
    by: User | None,
    **values: Any,
) -> None:
    changed = Batch.objects.filter(pk=batch.pk, state__in=allowed, standing=None).update(
        state=state, changed_by=by, **values
    )
    batch.refresh_from_db()
    if not changed:
        raise WrongState(
            f"{batch.job_id} is {batch.state}; only one that is {' or '.join(allowed)} can become {state}."
        )


def _uploads_id() -> int:
    uploads = Batch.objects.filter(standing=Batch.UPLOADS).values_list("pk", flat=True).first()
    if uploads is None:
        batch, _ = Batch.objects.get_or_create(
            standing=Batch.UPLOADS, defaults={"operation": "image-proxy", "started_at": now()}
        )
        uploads = batch.pk
    return uploads

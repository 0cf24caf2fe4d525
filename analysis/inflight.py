"""Claims on calls: a row with status *started*, written before the call and held by one process at a time."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db import IntegrityError, transaction
from django.utils.timezone import now

from analysis import budgets
from analysis.conf import conf
from analysis.errors import AnalysisBusy
from analysis.models import Analysis
from analysis.providers import aws
from proxies.processes.liveness import liveness, this_holder

# Time for what precedes a call, such as waiting for the rate limit and uploading a copy.
_SPARE: Final = timedelta(minutes=10)
# Attempts to claim a call whose process died: another process may be faster each time.
_TRIES: Final = 5
_BROKEN_OFF: Final = (
    "The process ended before the answer arrived, and the call may have been billed. It is counted at its "
    "expected cost."
)


def take(row: Analysis, *, calls: int) -> None:
    """Save the unsaved row before its call, which is one of ``calls`` sequential ones.

    Raises:
        AnalysisBusy: a live process is making the same call.
    """
    # Longer than all calls with their retries: a holder that has not finished by then is dead, on any host.
    row.holder = this_holder()
    row.until = now() + _SPARE + timedelta(seconds=calls * aws.ATTEMPTS * conf().timeout)
    same = Analysis.everything.started().filter(**{name: getattr(row, name) for name in Analysis.KEY})
    for _ in range(_TRIES):
        if _is_written(row):
            return
        held = same.first()
        if held is not None and not _is_broken_off(held, liveness([held.holder]).get(held.holder)):
            raise AnalysisBusy(
                "The same question about the same bytes is being answered right now. Ask again shortly."
            )
        if held is not None:
            break_off(held)
    raise AnalysisBusy(f"File {row.file_id} or its proxy is being replaced or deleted. Ask again shortly.")


def break_off(row: Analysis) -> bool:
    """Mark a started call as interrupted: its process ended before the answer arrived.

    Return False if it was no longer started.

    The expected cost counts against the budget, unless the call had no reservation yet.
    """
    with transaction.atomic():
        started = Analysis.everything.started().filter(pk=row.pk).select_for_update(no_key=True).first()
        if started is None:
            return False
        if not started.reserved:
            started.cost = None
        budgets.settle(started, started.cost)
        started.status, started.finished_at = Analysis.Status.FAILED, now()
        started.error, started.message = "broken_off", _BROKEN_OFF
        started.save(update_fields=["status", "finished_at", "error", "message", "cost"])
    return True


def settle_broken_off() -> int:
    """Mark the started calls of dead processes as interrupted; return their number.

    Without this, such a call is detected only by the next call with the same question.
    """
    started = list(Analysis.everything.started())
    is_running = liveness(row.holder for row in started)
    return sum(break_off(row) for row in started if _is_broken_off(row, is_running.get(row.holder)))


def _is_written(row: Analysis) -> bool:
    """Insert the row; return False if an equal one exists or a row it refers to was deleted."""
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        return False
    return True


def _is_broken_off(row: Analysis, is_running: bool | None) -> bool:
    if is_running is None:
        return row.until is not None and row.until < now()
    return not is_running

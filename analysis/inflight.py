"""The right to ask: a record that says *started*, written before the call, held by one process at a time."""

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

# For what comes before a call, as its place in the rate and the writing of a copy.
_SPARE: Final = timedelta(minutes=10)
# Somebody else may be as fast in breaking off a dead one's call and asking again; no more often than this.
_TRIES: Final = 5
_BROKEN_OFF: Final = (
    "The process ended before the answer arrived, and the call may have been billed. It is counted at its "
    "expected cost."
)


def take(row: Analysis, *, calls: int) -> None:
    """Write the row, not saved yet, before its call, which is one of so many in turn.

    Raises:
        AnalysisBusy: a living process is asking the same.
    """
    # Longer than all of them with their tries: who still holds a started call then is dead, wherever he is.
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
    """Record that a started call's process ended before the answer came; False where that was recorded.

    It counts against the budget with what it was expected to cost, unless it had not been reached yet.
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
    """Break off what the dead had started, whom nobody may follow; return how many there were."""
    started = list(Analysis.everything.started())
    is_running = liveness(row.holder for row in started)
    return sum(break_off(row) for row in started if _is_broken_off(row, is_running.get(row.holder)))


def _is_written(row: Analysis) -> bool:
    """Whether the row is there now; False where one that says the same stands in its way, or where what it
    refers to has gone."""
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

"""The right to ask: a record that says *started*, written before the call, held by one process at a time."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db import IntegrityError, transaction
from django.utils.timezone import now

from analysis.conf import conf
from analysis.errors import AnalysisBusy
from analysis.models import Analysis
from analysis.providers import aws
from proxies.holders import is_alive, is_dead, this_holder

# For what comes before a call, as its place in the rate and the writing of a copy.
_SPARE: Final = timedelta(minutes=10)
# Somebody else may be as fast in breaking off a dead one's call and asking again; no more often than this.
_TRIES: Final = 5


def take(row: Analysis, *, calls: int) -> None:
    """Write the row, not saved yet, before its call, which is one of so many in turn.

    Raises:
        AnalysisBusy: a living process is asking the same.
    """
    # Longer than all of them with their tries: who still holds a started call then is dead, wherever he is.
    row.holder = this_holder()
    row.until = now() + _SPARE + timedelta(seconds=calls * aws.ATTEMPTS * conf().timeout)
    same = Analysis.objects.started().filter(**{name: getattr(row, name) for name in Analysis.KEY})
    for _ in range(_TRIES):
        if _is_written(row):
            return
        held = same.first()
        if held is not None and not _is_broken_off(held):
            raise AnalysisBusy(
                f"The same is being asked about the same picture, for file {held.file_id}. Ask again shortly."
            )
        if held is not None:
            break_off(held)
    raise AnalysisBusy(f"File {row.file_id} or its proxy is being replaced or deleted. Ask again shortly.")


def break_off(row: Analysis) -> bool:
    """Say of a started call that its process ended before the answer came; False where that was said."""
    return bool(
        Analysis.objects.started()
        .filter(pk=row.pk)
        .update(
            status=Analysis.Status.FAILED,
            error="broken_off",
            message="The process that asked ended before the answer came; the call may have been paid for.",
            finished_at=now(),
        )
    )


def settle_broken_off() -> int:
    """Break off what the dead had started, whom nobody may follow; return how many there were."""
    return sum(break_off(row) for row in Analysis.objects.started().iterator() if _is_broken_off(row))


def _is_written(row: Analysis) -> bool:
    """Whether the row is there now; False where one that says the same stands in its way, or where what it
    refers to has gone."""
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        return False
    return True


def _is_broken_off(row: Analysis) -> bool:
    if is_dead(row.holder):
        return True
    return not is_alive(row.holder) and row.until is not None and row.until < now()

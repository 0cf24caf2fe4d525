"""Who holds a lease, and whether that process is alive.

Of a process that shares our pids we look. Others, in another container or on another machine, write a
heartbeat: one that has been silent for `SILENCE`, by the database's clock, is dead. Of a process without
either, such as one of an older version, nothing is known; its leases run out.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from django.db.models import BooleanField, ExpressionWrapper, Q
from django.db.models.functions import Now

from proxies.models import Heartbeat
from proxies.processes import heartbeat
from proxies.processes.identity import runs_here, this_process

# Six beats. With the minute between two sweeps, what a vanished machine held is free after two minutes.
SILENCE: Final = timedelta(seconds=60)


def this_holder() -> str:
    """Return this process as the holder of a lease, and keep its heartbeat from now on."""
    heartbeat.ensure()
    return this_process()


def is_dead(holder: str) -> bool:
    """Return whether the process is known to have ended."""
    return liveness([holder]).get(holder) is False


def is_alive(holder: str) -> bool:
    """Return whether the process is known to run."""
    return liveness([holder]).get(holder) is True


def dead_among(holders: Iterable[str]) -> set[str]:
    """Return those that are known to have ended, with one statement for all."""
    return {holder for holder, is_running in liveness(holders).items() if is_running is False}


def liveness(holders: Iterable[str]) -> dict[str, bool | None]:
    """Return for each holder whether it runs, None where that is not known; with at most one statement."""
    found = {holder: runs_here(holder) for holder in set(holders) if holder}
    elsewhere = [holder for holder, is_running in found.items() if is_running is None]
    if elsewhere:
        has_beat = ExpressionWrapper(Q(beat_at__gte=Now() - SILENCE), BooleanField())
        beats = Heartbeat.objects.filter(pk__in=elsewhere).annotate(has_beat=has_beat)
        found |= dict(beats.values_list("pk", "has_beat"))
    return found

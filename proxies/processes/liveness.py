"""Lease holders, and whether they are alive.

A process in our PID namespace is checked directly. A process in another container or on another machine
writes a heartbeat and is considered dead after `SILENCE` without one, by the database's clock. A process with
neither, such as one of an older version, is unknown; its leases expire.
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

# Six beats. With a minute between two sweeps, the leases of a lost machine are free after two minutes.
SILENCE: Final = timedelta(seconds=60)


def this_holder() -> str:
    """Return this process's identity as a lease holder, and start its heartbeat."""
    heartbeat.ensure()
    return this_process()


def is_dead(holder: str) -> bool:
    """Return whether the process is known to have ended."""
    return liveness([holder]).get(holder) is False


def is_alive(holder: str) -> bool:
    """Return whether the process is known to be running."""
    return liveness([holder]).get(holder) is True


def dead_among(holders: Iterable[str]) -> set[str]:
    """Return the holders that are known to have ended, with at most one query."""
    return {holder for holder, is_running in liveness(holders).items() if is_running is False}


def liveness(holders: Iterable[str]) -> dict[str, bool | None]:
    """Return for each holder whether it runs, None if unknown; with at most one query."""
    found = {holder: runs_here(holder) for holder in set(holders) if holder}
    elsewhere = [holder for holder, is_running in found.items() if is_running is None]
    if elsewhere:
        has_beat = ExpressionWrapper(Q(beat_at__gte=Now() - SILENCE), BooleanField())
        beats = Heartbeat.objects.filter(pk__in=elsewhere).annotate(has_beat=has_beat)
        found |= dict(beats.values_list("pk", "has_beat"))
    return found

"""One rate of calls to each provider, over the workers of all machines.

A row says when the next call may begin; whoever wants to call moves it on by one interval, by a conditional
UPDATE, and waits until the moment that he took. This is the generic cell rate algorithm: a leaky bucket that
needs one number. The machines' clocks are taken to agree within a fraction of a second, as NTP keeps them.
"""

from __future__ import annotations

import time
from typing import Final

from analysis.models import CallRate

_MICRO: Final = 1_000_000
# Time that went by unused may be made up for, as after a pause of the database; no more than this, so that
# calls never come in a burst that the service would throttle.
CATCH_UP: Final = 0.5


def reserve(provider: str, per_second: float, calls: int = 1) -> float:
    """Take the next ``calls`` places; return when they may begin, in seconds since the epoch."""
    interval = round(_MICRO * calls / per_second)
    row = CallRate.objects.filter(provider=provider)
    while True:
        next_at = row.values_list("next_at", flat=True).first()
        if next_at is None:
            CallRate.objects.get_or_create(provider=provider)
            continue
        begin = max(next_at, round((time.time() - CATCH_UP) * _MICRO))
        # Somebody else may have taken that place in between; then the next one.
        if row.filter(next_at=next_at).update(next_at=begin + interval):
            return begin / _MICRO


def wait_for(provider: str, per_second: float, calls: int = 1) -> None:
    """Take places and sleep until they may begin."""
    time.sleep(max(0.0, reserve(provider, per_second, calls) - time.time()))

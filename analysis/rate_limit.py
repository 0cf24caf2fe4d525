"""A rate limit for the calls to each provider, shared by the workers on all machines.

A row stores when the next call may start. A caller advances it by one interval with a conditional UPDATE and
waits until the time it reserved. This is the generic cell rate algorithm: a leaky bucket that needs one
number. The machines' clocks must agree within a fraction of a second, which NTP ensures.
"""

from __future__ import annotations

import time
from typing import Final

from analysis.models import CallRate

_MICRO: Final = 1_000_000
# Seconds of unused time that may be made up for, such as after a database outage. The limit prevents bursts
# that the service would throttle.
CATCH_UP: Final = 0.5


def reserve(provider: str, per_second: float, calls: int = 1) -> float:
    """Reserve slots for ``calls`` calls; return when they may start, in seconds since the epoch."""
    interval = round(_MICRO * calls / per_second)
    row = CallRate.objects.filter(provider=provider)
    while True:
        next_at = row.values_list("next_at", flat=True).first()
        if next_at is None:
            CallRate.objects.get_or_create(provider=provider)
            continue
        begin = max(next_at, round((time.time() - CATCH_UP) * _MICRO))
        # If another process has reserved that slot in between, try the next one.
        if row.filter(next_at=next_at).update(next_at=begin + interval):
            return begin / _MICRO


def wait_for(provider: str, per_second: float, calls: int = 1) -> None:
    """Reserve slots and sleep until the calls may start."""
    time.sleep(max(0.0, reserve(provider, per_second, calls) - time.time()))

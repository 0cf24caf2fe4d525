"""The virtual clock: all time reads and sleeps of the code under test use it."""

from __future__ import annotations

import datetime as dt
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

BEGINNING = 1_790_000_000.0
"""Seconds since the epoch at which every run begins."""

TICK = 0.002
"""Seconds that one scheduling point takes."""


class Clock:
    """A monotonic clock and a wall clock, as on a real machine.

    Attributes:
        monotonic: seconds; never goes back.
        offset: what to add for the time of day, which may be set forwards and back.
    """

    def __init__(self) -> None:
        self.monotonic = 1000.0
        self.offset = BEGINNING - 1000.0

    @property
    def wall(self) -> float:
        return self.monotonic + self.offset

    def time_of_day(self) -> float:
        return self.wall

    def seconds(self) -> float:
        return self.monotonic

    def tick(self) -> None:
        self.monotonic += TICK

    def set_wall(self, seconds: float) -> None:
        """Move the time of day by ``seconds``, as a person or NTP does."""
        self.offset += seconds

    def pass_time(self, seconds: float) -> None:
        """Let time pass for everyone, as when the whole machine was suspended."""
        self.monotonic += seconds


@contextmanager
def clock_in_place(clock: Clock, sleep: Any) -> Iterator[None]:
    """Have `time` and `django.utils.timezone.now` use ``clock`` inside the block."""
    from django.utils import timezone

    class VirtualDatetime(dt.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return dt.datetime.fromtimestamp(clock.wall, tz)

    with (
        mock.patch.object(time, "time", clock.time_of_day),
        mock.patch.object(time, "monotonic", clock.seconds),
        mock.patch.object(time, "perf_counter", clock.seconds),
        mock.patch.object(time, "sleep", sleep),
        mock.patch.object(timezone, "datetime", VirtualDatetime),
    ):
        yield


def database_clock(sql: str, clock: Clock) -> str:
    """Return the statement with the database's own clock replaced by the virtual one."""
    if "STATEMENT_TIMESTAMP()" in sql:
        return sql.replace("STATEMENT_TIMESTAMP()", f"TO_TIMESTAMP({clock.wall:.6f})")
    if "'NOW'" in sql:
        return sql.replace("'NOW'", f"{clock.wall:.6f}, 'unixepoch'")
    return sql


@contextmanager
def dice_in_place(seed: int) -> Iterator[None]:
    """Derive random names, tokens and delays from the seed."""
    import os

    source = random.Random(f"entropy {seed}")
    state = random.getstate()
    random.seed(f"module {seed}")
    with (
        mock.patch.object(os, "urandom", source.randbytes),
        mock.patch.object(random, "_urandom", source.randbytes),
    ):
        yield
    random.setstate(state)

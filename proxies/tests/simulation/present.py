"""The current run, from which the simulated parts learn which process is running."""

from __future__ import annotations

from proxies.tests.simulation.scheduler import Fiber, Process, World

_run: list[World] = []


def enter(world: World) -> None:
    """Begin a run."""
    _run[:] = [world]


def leave() -> None:
    """End the run."""
    _run.clear()


def get() -> World:
    """Return the current run. There must be one."""
    return _run[0]


def fiber() -> Fiber | None:
    """Return the simulated thread that is running; None outside the simulation."""
    return _run[0].current if _run else None


def process() -> Process | None:
    """Return the simulated process that is running; None outside the simulation."""
    running = fiber()
    return running.process if running is not None else None


def point(kind: str, detail: str = "") -> None:
    """Pass a scheduling point, if a simulated thread is running."""
    if fiber() is not None:
        _run[0].point(kind, detail)

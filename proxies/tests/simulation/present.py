"""The run at hand, which whatever stands in for the machine asks who is running."""

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
    """Return the run at hand. There is one."""
    return _run[0]


def fiber() -> Fiber | None:
    """Return the simulated thread that runs; None outside of all."""
    return _run[0].current if _run else None


def process() -> Process | None:
    """Return the simulated process that runs; None outside of all."""
    running = fiber()
    return running.process if running is not None else None


def point(kind: str, detail: str = "") -> None:
    """Pass a scheduling point, if a simulated thread runs."""
    if fiber() is not None:
        _run[0].point(kind, detail)

"""The faults that the seed injects, and where."""

from __future__ import annotations

import random
import signal
from dataclasses import dataclass, field
from typing import Any

from django.db import OperationalError

from media_files.errors import NoSpace, StorageError
from proxies.tests.simulation.scheduler import Fiber, Killed, World

ANYWHERE = ("sql", "committed", "hook", "begin", "commit", "storage", "render", "sleep", "wire")
"""Kinds of scheduling points."""

STORAGE_FAULTS = ("storage", "no_space", "unnamed")
SECONDS_OF_OUTAGE = (0.0, 0.0, 3.0, 40.0)


@dataclass
class Faults:
    """Inject a few faults into a run, at points that the seed chooses.

    Attributes:
        left: remaining faults.
        struck: descriptions of the injected faults.
        incidents: how often a fault that a decoder could have caused ended or broke a process.
        losses: how often an answer may have been lost with a process or with the database.
    """

    world: World
    left: int
    allowed: tuple[str, ...]
    dice: random.Random
    struck: list[str] = field(default_factory=list)
    incidents: int = 0
    losses: int = 0
    jumps: int = 0
    outages: dict[str, tuple[float, str]] = field(default_factory=dict)
    _at: int = 0
    _kinds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._arm()

    def _arm(self) -> None:
        self._at = self.world.steps + int(self.dice.expovariate(1 / 150))
        # Hooks, commits and writes are rare among statements, and deserve as many faults.
        self._kinds = self.dice.choice(
            [
                ANYWHERE,
                ("hook",),
                ("committed", "hook"),
                ("storage",),
                ("render", "storage"),
                ("sql",),
                ("wire",),
            ]
        )

    def strike(self, kind: str, fiber: Fiber) -> None:
        """Inject a fault at this point, if one is due."""
        self._outage(kind)
        if self.left <= 0 or self.world.steps < self._at or kind not in self._kinds:
            return
        fault = self.dice.choice(self.allowed)
        raising = _AT.get(fault)
        if raising is not None and kind not in raising:
            return
        if fault in ("interrupt", "exit") and not _may_be_interrupted(fault, fiber):
            return
        self.left -= 1
        self._arm()
        self.struck.append(f"{self.world.steps} {fiber.name} {kind}: {fault}")
        self.world.note("fault", fault)
        fiber.process.faults += 1
        getattr(self, f"_{fault}")(kind, fiber)

    def _outage(self, kind: str) -> None:
        area = "storage" if kind == "storage" else ("database" if kind in ("sql", "begin") else "")
        until, fault = self.outages.get(area, (0.0, ""))
        if self.world.clock.monotonic < until:
            assert self.world.current is not None
            self.world.current.process.faults += 1
            raise _error(fault)

    def _kill(self, kind: str, fiber: Fiber) -> None:
        if _may_be_decoding(fiber):
            self.incidents += 1
        self.losses += 1
        self.world.kill(fiber.process)
        raise Killed

    def _interrupt(self, kind: str, fiber: Fiber) -> None:
        self.losses += 1
        raise KeyboardInterrupt

    def _exit(self, kind: str, fiber: Fiber) -> None:
        self.incidents += 1
        self.losses += 1
        raise SystemExit(1)

    def _stop(self, kind: str, fiber: Fiber) -> None:
        if signal.SIGTERM in fiber.process.handlers:
            self.world.send(fiber.process, signal.SIGTERM)
        fiber.process.is_stopping = True

    def _unnamed(self, kind: str, fiber: Fiber) -> None:
        self.incidents += 1
        raise RuntimeError("Something without a name.")

    def _database(self, kind: str, fiber: Fiber) -> None:
        self.losses += 1
        self.world.break_connections(fiber)
        if seconds := self.dice.choice(SECONDS_OF_OUTAGE):
            self.outages["database"] = (self.world.clock.monotonic + seconds, "database")
        raise OperationalError("server closed the connection unexpectedly")

    def _storage(self, kind: str, fiber: Fiber) -> None:
        self._storage_outage("storage")

    def _no_space(self, kind: str, fiber: Fiber) -> None:
        self._storage_outage("no_space")

    def _storage_outage(self, fault: str) -> None:
        if seconds := self.dice.choice(SECONDS_OF_OUTAGE):
            self.outages["storage"] = (self.world.clock.monotonic + seconds, fault)
        raise _error(fault)

    def _clock(self, kind: str, fiber: Fiber) -> None:
        self.jumps += 1
        clock, seconds = self.world.clock, self.dice.choice([-400.0, -30.0, 30.0, 400.0, 700.0])
        if seconds > 0 and self.dice.random() < 0.5:
            clock.pass_time(seconds)
        else:
            clock.set_wall(seconds)


_AT: dict[str, tuple[str, ...]] = {
    "database": ("sql", "begin", "commit", "committed", "hook"),
    "storage": ("storage",),
    "no_space": ("storage",),
    "unnamed": ("render", "storage", "hook"),
}
ALL = ("kill", "kill", "interrupt", "exit", "stop", "unnamed", "database", "storage", "no_space", "clock")


def _error(fault: str) -> Exception:
    if fault == "database":
        return OperationalError("the database system is starting up")
    return NoSpace("No space is left.") if fault == "no_space" else StorageError("No answer.")


def _may_be_interrupted(fault: str, fiber: Fiber) -> bool:
    process = fiber.process
    if fiber is not process.fibers[0]:
        return False
    return process.takes_interrupts if fault == "interrupt" else process.exits


def _may_be_decoding(fiber: Fiber) -> bool:
    """Return whether the process is decoding, or has just counted the attempt to."""
    process = fiber.process
    return process.in_render is not None or '"attempts"' in process.last_statement


class Curse:
    """A file that breaks its process whenever it is processed: in the lease, or in the decoder.

    Attributes:
        file_id: the file's id.
        kind: ``lease`` or ``render`` for an exception without a name, ``killer`` for a killed process.
    """

    def __init__(self, world: World, file_id: int, kind: str) -> None:
        self.world, self.file_id, self.kind = world, file_id, kind

    def strike_statement(self, sql: str, params: Any) -> None:
        if self.kind == "lease" and "INSERT INTO proxies_proxylease" in sql and params[0] == self.file_id:
            assert self.world.current is not None
            self.world.current.process.faults += 1
            raise ValueError("The row holds what nobody can read.")

    def strike_render(self, file_id: int) -> None:
        assert self.world.current is not None
        if file_id != self.file_id or self.kind == "lease":
            return
        self.world.current.process.faults += 1
        if self.kind == "render":
            raise ValueError("The decoder met what nobody foresaw.")
        self.world.kill(self.world.current.process)
        raise Killed


def curse(world: World, seed: int) -> Curse | None:
    """Return the curse of a run, on one of the first files; one run in eight has one."""
    dice = random.Random(f"curse {seed}")
    if dice.random() > 1 / 8:
        return None
    return Curse(world, dice.randrange(1, 5), dice.choice(["lease", "render", "killer"]))


def draw(world: World, seed: int, *, is_eventful: bool) -> Faults:
    """Return the faults of a run: none in one run of six, so that its plans can be checked exactly."""
    dice = random.Random(f"faults {seed}")
    count = dice.choice([0, 1, 1, 2, 3, 4]) if is_eventful else 0
    allowed = tuple(fault for fault in ALL if dice.random() < 0.7) or ALL
    return Faults(world, count, allowed, dice)

"""Simulated processes, of which one runs at a time, and the points at which the seed decides which."""

from __future__ import annotations

import hashlib
import random
import signal
from collections.abc import Callable
from typing import Any

from greenlet import getcurrent, greenlet

from proxies.tests.simulation.clock import Clock

LONGEST_RUN = 5_000
"""Scheduling points after which a run is assumed never to settle."""


class Killed(BaseException):
    """The simulated process has been killed: its code unwinds, and its statements have no effect."""


class NoRest(BaseException):
    """No process can continue, or the run does not end."""


class Machine:
    """A machine or container: its name, and the namespace of its pids."""

    def __init__(self, hostname: str, space: int, first_pid: int) -> None:
        self.hostname, self.space = hostname, space
        self.processes: dict[int, Process] = {}
        self._next_pid = first_pid

    def new_pid(self) -> int:
        self._next_pid += 1
        return self._next_pid


class Process:
    """A process of one machine.

    Attributes:
        takes_interrupts: whether Ctrl-C may reach it.
        exits: whether something, such as the queue's timeout, may end it by a SystemExit.
        in_render: what it is decoding, if anything.
    """

    def __init__(self, name: str, machine: Machine, started: int, parent: Process | None = None) -> None:
        self.name, self.machine, self.parent = name, machine, parent
        self.pid, self.started = machine.new_pid(), started
        self.alive = True
        self.exitcode: int | None = None
        self.fibers: list[Fiber] = []
        self.handlers: dict[int, Any] = {}
        self.signals: list[int] = []
        self.takes_interrupts = self.exits = self.is_stopping = False
        self.in_render: int | None = None
        self.last_statement = ""
        self.memory: dict[str, Any] = {}
        self.has_other_settings = False
        self.faults = 0
        machine.processes[self.pid] = self

    @property
    def parent_pid(self) -> int:
        return self.parent.pid if self.parent is not None and self.parent.alive else 1


class Fiber:
    """One thread of a process."""

    def __init__(self, name: str, process: Process, run: Callable[[], Any], hub: greenlet) -> None:
        self.name, self.process = name, process
        self.connections: dict[str, Any] = {}
        self.wake_at: float | None = None
        self.is_ready: Callable[[], bool] | None = None
        self.is_done = False
        self.priority = 0.0
        self._run = run
        self.greenlet = greenlet(self._main, hub)
        process.fibers.append(self)

    def _main(self) -> None:
        try:
            self._run()
        finally:
            self.is_done = True

    def can_run(self, moment: float) -> bool:
        if self.wake_at is not None and self.wake_at <= moment:
            return True
        if self.is_ready is not None:
            return self.is_ready()
        return self.wake_at is None


class World:
    """One run: its clock, its dice, its processes, and the trace of what they did."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.clock = Clock()
        self.dice = random.Random(f"schedule {seed}")
        self.hub = getcurrent()
        self.fibers: list[Fiber] = []
        self.processes: list[Process] = []
        self.current: Fiber | None = None
        self.steps = 0
        self.trace: list[tuple[str, str, str]] = []
        self.faults: Any = None
        self.curse: Any = None
        self.epoch = 0
        self.on_exit: Callable[[Process], None] = lambda process: None
        self.drop_connections: Callable[[Fiber], None] = lambda fiber: None
        self.break_connections: Callable[[Fiber], None] = lambda fiber: None
        self.enter_process: Callable[[Process], None] = lambda process: None
        # How the seed schedules: rarely or often, evenly or by priorities that change now and then.
        self.switch_rate = self.dice.choice([0.02, 0.08, 0.2, 0.4])
        self.by_priority = self.dice.random() < 0.4
        self._unwinding: list[Process] = []

    # -- Processes -------------------------------------------------------------------------------

    def spawn(
        self, name: str, machine: Machine, run: Callable[[], Any], parent: Process | None = None
    ) -> Process:
        """Start a process whose main thread runs ``run``."""
        process = Process(name, machine, started=len(self.processes) * 100 + 7, parent=parent)
        self.processes.append(process)
        self.add_fiber(name, process, run)
        return process

    def add_fiber(self, name: str, process: Process, run: Callable[[], Any]) -> Fiber:
        fiber = Fiber(name, process, run, self.hub)
        fiber.priority = self.dice.random()
        self.fibers.append(fiber)
        return fiber

    def kill(self, process: Process, exitcode: int = -9) -> None:
        """End a process at once: its connections are closed, and its threads stop."""
        if not process.alive:
            return
        process.alive, process.exitcode = False, exitcode
        self.note("killed", process.name)
        for fiber in process.fibers:
            self.drop_connections(fiber)
        self._unwinding.append(process)
        self.on_exit(process)

    def send(self, process: Process, number: int) -> None:
        """Deliver a signal: at the next point of the process's main thread, or at once if it kills."""
        if not process.alive:
            return
        if number == signal.SIGKILL or (
            number == signal.SIGTERM and process.handlers.get(number) in (None, signal.SIG_DFL)
        ):
            self.kill(process, -number)
        else:
            process.signals.append(number)

    # -- What the running fiber does ---------------------------------------------------------------

    def note(self, kind: str, detail: str = "") -> None:
        self.trace.append((self.current.name if self.current else "hub", kind, detail))

    def point(self, kind: str, detail: str = "") -> None:
        """Pass a scheduling point: another fiber may run, something may fail, the process may end."""
        fiber = self.current
        if fiber is None:
            return
        process = fiber.process
        if not process.alive:
            raise Killed
        self.steps += 1
        self.clock.tick()
        self.trace.append((fiber.name, kind, detail))
        if self.steps > LONGEST_RUN:
            raise NoRest(f"The run did not come to its end in {LONGEST_RUN} points.")
        if self.faults is not None:
            self.faults.strike(kind, fiber)
        if self._is_switch_due(fiber):
            self.switch()
        self._deliver(fiber)

    def switch(self) -> None:
        """Let others run."""
        fiber = self.current
        assert fiber is not None
        self.hub.switch()
        if not fiber.process.alive:
            raise Killed

    def block(self, is_ready: Callable[[], bool] | None, seconds: float | None = None) -> bool:
        """Wait until ``is_ready()``, or for ``seconds``; return whether it became ready."""
        fiber = self.current
        if fiber is None:
            raise NoRest("The simulation itself waits.")
        if not fiber.process.alive:
            raise Killed
        fiber.is_ready = is_ready
        fiber.wake_at = None if seconds is None else self.clock.monotonic + seconds
        if is_ready is None and seconds is None:
            raise NoRest(f"{fiber.name} waits for nothing.")
        try:
            self.switch()
        finally:
            fiber.is_ready = fiber.wake_at = None
        self._deliver(fiber)
        return is_ready is not None and is_ready()

    def sleep(self, seconds: float) -> None:
        self.point("sleep", f"{seconds:.3f}")
        self.block(None, max(0.0, seconds))

    def _is_switch_due(self, fiber: Fiber) -> bool:
        if self.by_priority:
            if self.dice.random() < self.switch_rate / 10:
                fiber.priority = -self.steps
            elif self.dice.random() > self.switch_rate:
                return False
            return True
        return self.dice.random() < self.switch_rate

    def _deliver(self, fiber: Fiber) -> None:
        process = fiber.process
        while process.signals and fiber is process.fibers[0]:
            number = process.signals.pop(0)
            handler = process.handlers.get(number)
            self.note("signal", str(number))
            if callable(handler):
                handler(number, None)
            elif number == signal.SIGINT and handler is None:
                raise KeyboardInterrupt

    # -- The hub -----------------------------------------------------------------------------------

    def run(self, until: Callable[[], bool]) -> None:
        """Run the processes until ``until()``, which is checked between two turns.

        Raises:
            NoRest: they never get there.
        """
        while True:
            self._unwind()
            if until():
                return
            self._resume(self._pick())

    def _resume(self, fiber: Fiber) -> None:
        self.current = fiber
        self.enter_process(fiber.process)
        try:
            fiber.greenlet.switch()
        except Killed:
            pass
        except NoRest:
            raise
        except BaseException as error:  # noqa: BLE001 - the run handles whatever ends a process
            self.note("ended", type(error).__name__)
            if fiber is fiber.process.fibers[0]:
                self.kill(fiber.process, 1)
        else:
            if fiber.is_done and fiber is fiber.process.fibers[0] and fiber.process.alive:
                self.kill(fiber.process, 0)
        finally:
            self.current = None
        if fiber.is_done and fiber in self.fibers:
            self.drop_connections(fiber)
            self.fibers.remove(fiber)

    def _pick(self) -> Fiber:
        moment = self.clock.monotonic
        runnable = [fiber for fiber in self.fibers if fiber.can_run(moment)]
        if not runnable:
            sleeping = [fiber for fiber in self.fibers if fiber.wake_at is not None]
            if not sleeping:
                waiting = ", ".join(fiber.name for fiber in self.fibers)
                raise NoRest(f"Everybody waits for ever: {waiting or 'nobody is left'}.")
            first = min(fiber.wake_at for fiber in sleeping if fiber.wake_at is not None)
            self.clock.pass_time(max(0.0, first - moment))
            runnable = [fiber for fiber in self.fibers if fiber.can_run(self.clock.monotonic)]
        if self.by_priority:
            return max(runnable, key=lambda fiber: fiber.priority)
        return runnable[self.dice.randrange(len(runnable))]

    def _unwind(self) -> None:
        while self._unwinding:
            process = self._unwinding.pop(0)
            for fiber in process.fibers:
                if fiber.greenlet and not fiber.is_done:
                    self.current = fiber
                    self.enter_process(process)
                    try:
                        fiber.greenlet.throw(Killed)
                    except BaseException as error:
                        if isinstance(error, NoRest):
                            raise
                    finally:
                        self.current = None
                if fiber in self.fibers:
                    self.fibers.remove(fiber)

    def digest(self) -> str:
        """Return a hash of the trace: two runs with the same hash took the same path."""
        text = "\n".join(" ".join(entry) for entry in self.trace)
        return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]

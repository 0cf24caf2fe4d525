"""One run of the simulation: from its seed to its violations."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

from django.conf import settings

from proxies.tests.simulation import faults, invariants, keeping, library, seams
from proxies.tests.simulation.actors import Cast
from proxies.tests.simulation.clock import clock_in_place, dice_in_place
from proxies.tests.simulation.provider import Service, service_in_place
from proxies.tests.simulation.queue import Queue, set_broker
from proxies.tests.simulation.scheduler import LONGEST_RUN, Machine, NoRest, Process, World
from proxies.tests.simulation.storage import MemoryStorage

NOTES_ARE_DUE = 6.1 * 3600
"""Seconds after which the sweeper processes the note of a file that was being stored."""
SMALLER = 12
"""Pixels of the shorter side in the settings of a worker that is not upgraded yet."""
OURS = ("media_files", "proxies", "analysis", "novaproxy_site")


@dataclass
class Outcome:
    """The result of a run.

    Attributes:
        violations: broken invariants; empty if all is well.
        digest: a hash of the run's trace.
        trace: its scheduling points.
        struck: the faults, in words.
    """

    seed: int
    violations: list[str]
    digest: str
    trace: list[tuple[str, str, str]]
    struck: list[str] = field(default_factory=list)


class Stage:
    """What runs share: a migrated database, and a small library in it whose proxies exist."""

    def __init__(self) -> None:
        from django.core.management import call_command

        self.folder = Path(settings.DATA_DIR)
        self.photos = self.folder / "photos"
        self.photos.mkdir()
        for name in ("scan-0.tif", "scan-3.tif", "small-1.png"):
            (self.photos / name).write_bytes(library.CONTENTS[name])
        call_command("migrate", run_syncdb=True, verbosity=0)
        self.kept = keeping.kept_states()
        self.kept.keep("empty")
        self.files: dict[str, dict[str, bytes]] = {}
        self.decodes: Counter[int] = Counter()
        self._furnish()

    def _furnish(self) -> None:
        from io import BytesIO

        from media_files.services import add_file

        MemoryStorage.files.clear()

        def program(cast: Cast) -> None:
            for name in ("scan-1.tif", "cut-out-0.tif", "small-0.png"):
                add_file(BytesIO(library.CONTENTS[name]), name)

        play = _Play(self, 0)
        with play.in_place():
            play.world.spawn("door", play.machines[0], lambda: program(play.cast))
            play.start_worker("worker")
            play.world.run(lambda: not play.is_alive("door"))
            play.settle()
        self.kept.keep("furnished")
        self.files = {place: dict(files) for place, files in MemoryStorage.files.items()}
        self.decodes = play.decodes

    def reset(self, *, furnished: bool) -> None:
        """Reset database and storage to their initial state."""
        self.kept.restore("furnished" if furnished else "empty")
        MemoryStorage.files.clear()
        for place in ("originals", "proxies", "archive"):
            MemoryStorage.files[place] = dict(self.files.get(place, {})) if furnished else {}
        MemoryStorage.written.clear()
        for cache in _caches(len(sys.modules)):
            cache.cache_clear()
        _line_memory().clear()


class _Play:
    """A run in progress."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.world = World(seed)
        self.queue = Queue(self.world, seed, in_database=seed % 3 != 0)
        self.cast = Cast(self.world, self.queue, seed, stage.photos)
        self.service = self.cast.service = Service(self.world, seed)
        self.decodes: Counter[int] = Counter()
        self.seed = seed
        self.target = settings.NOVAPROXY_TARGET
        # One machine; or two containers that share a host name, with equal pids.
        first = Machine("photos", 10, 6)
        second = Machine("photos", 11, 6) if self.world.dice.random() < 0.4 else first
        self.machines = [first, second]
        self.struck: list[str] = []
        self._successors: dict[str, Callable[[], Any]] = {}
        self.world.on_exit = self._replace
        self.world.enter_process = self._apply_settings
        self._has_other_settings = False
        # A rolling upgrade: until it is stopped, the second worker makes smaller proxies than the rest.
        self.is_upgrading = self.world.dice.random() < 0.12

    @contextmanager
    def in_place(self) -> Iterator[None]:
        from proxies import services
        from proxies.batches import worker_slots

        notifier = list(worker_slots._notifier)
        with ExitStack() as stack:
            stack.enter_context(dice_in_place(self.seed))
            stack.enter_context(clock_in_place(self.world.clock, self.world.sleep))
            stack.enter_context(seams.in_place(self.world))
            stack.enter_context(service_in_place(self.service))
            stack.enter_context(
                mock.patch.object(services.ImageProxyService, "render", self._watched_render())
            )
            worker_slots.set_notifier(self.queue.notify)
            set_broker(self.queue)
            try:
                yield
            finally:
                for process in list(self.world.processes):
                    self.world.kill(process)
                self.world.on_exit = lambda process: None
                settings.NOVAPROXY_TARGET = self.target
                self.world._unwind()
                worker_slots._notifier[:] = notifier

    def _watched_render(self) -> Any:
        from proxies import services

        render, play = services.ImageProxyService.render, self

        def watched(service: Any, making: Any, stream: Any) -> Any:
            assert play.world.current is not None
            process = play.world.current.process
            play.decodes[making.source.pk] += 1
            play.note_doubles(process, making.source.pk)
            process.in_render = making.source.pk
            try:
                play.world.point("render", f"before {making.source.pk}")
                if play.world.curse is not None:
                    play.world.curse.strike_render(making.source.pk)
                rendered = render(service, making, stream)
                play.world.point("render", f"after {making.source.pk}")
            finally:
                process.in_render = None
            return rendered

        return watched

    def note_doubles(self, process: Process, file_id: int) -> None:
        """Record a violation if two living processes make one proxy at a time while the clock is right."""
        others = [each for each in self.world.processes if each.alive and each is not process]
        struck = self.world.faults
        if any(each.in_render == file_id for each in others) and not (struck and struck.jumps):
            self.cast.surprises.append(f"file {file_id} is rendered by two processes at once")

    # -- Processes -------------------------------------------------------------------------------

    def start(self, name: str, machine: Machine, program: Callable[[], Any]) -> None:
        """Start a process; if it ends early, start a successor."""
        self._successors[name] = program
        self.world.spawn(name, machine, program)

    def start_worker(self, name: str) -> None:
        self.start(name, self.machines[1 if name.endswith("2") else 0], self._worker)

    def _worker(self) -> None:
        assert self.world.current is not None
        process = self.world.current.process
        process.has_other_settings = self.is_upgrading and process.name.startswith("worker2")
        self._apply_settings(process)
        self.cast.worker()

    def end_upgrade(self) -> None:
        """Stop the processes with other settings; their successors have ours."""
        self.is_upgrading = False
        for process in self.world.processes:
            if process.alive and process.has_other_settings:
                process.is_stopping = True

    def _apply_settings(self, process: Process) -> None:
        if process.has_other_settings == self._has_other_settings:
            return
        from proxies.conf import conf

        self._has_other_settings = process.has_other_settings
        settings.NOVAPROXY_TARGET = SMALLER if process.has_other_settings else self.target
        conf.cache_clear()

    def is_alive(self, name: str) -> bool:
        return any(process.alive and process.name == name for process in self.world.processes)

    def is_through(self, name: str) -> bool:
        """Return whether a program has completed."""
        return not any(
            process.alive and process.name.split("+")[0] == name for process in self.world.processes
        )

    def _replace(self, process: Process) -> None:
        name = process.name.split("+")[0]
        program = self._successors.get(name)
        if program is None or (process.exitcode == 0 and not process.is_stopping) or self.cast.closing:
            return
        number = sum(each.name.split("+")[0] == name for each in self.world.processes)
        delay = self.world.dice.choice([0.2, 5.0, 90.0])

        def again() -> None:
            self.world.sleep(delay)
            program()

        self.world.spawn(f"{name}+{number}", process.machine, again)

    # -- The end ---------------------------------------------------------------------------------

    def settle(self) -> None:
        """Let the workers and the sweeper finish, without further faults."""
        self.world.faults, self.service.trouble = None, 0.0
        self.world.run(self._is_idle)
        for wait in (61.0, 700.0, 61.0, 700.0, 700.0, NOTES_ARE_DUE, 61.0):
            # If an hour passed at once during a process's call, the process would be taken for dead and its
            # call
            # repeated.
            self.world.run(lambda: self._is_idle() and not self._is_calling())
            self.world.clock.pass_time(wait)
            self._run_for(1.0)
            # Also resume what has been paused since, for example by its budget.
            _resume_all(self)
            if invariants.is_at_rest():
                return

    def _run_for(self, seconds: float) -> None:
        until = self.world.clock.monotonic + seconds
        self.world.run(lambda: self.world.clock.monotonic >= until and self._is_idle())

    def _is_calling(self) -> bool:
        return any(fiber in self.service.asking for fiber in self.world.fibers)

    def _is_idle(self) -> bool:
        return all(fiber.wake_at is not None or fiber.is_ready for fiber in self.world.fibers)


_stage: list[Stage] = []


def stage() -> Stage:
    """Return the stage of this process, created on first use."""
    if not _stage:
        _stage.append(Stage())
        gc.collect()
        gc.freeze()  # what is loaded by now stays, so garbage collection can skip it after each run
    return _stage[0]


def run(seed: int) -> Outcome:
    """Play one run."""
    here = stage()
    play = _Play(here, seed)
    is_furnished = play.world.dice.random() < 0.7
    here.reset(furnished=is_furnished)
    if is_furnished:
        play.decodes.update(here.decodes)
    gc.disable()
    found: list[str] = []
    try:
        with play.in_place():
            found = _perform(play)
    except NoRest as error:
        found = [f"no rest: {error}"]
    finally:
        gc.enable()
    if seed % 20 == 0:
        gc.collect()
    return Outcome(seed, found, play.world.digest(), play.world.trace, play.struck)


def _perform(play: _Play) -> list[str]:
    world, cast = play.world, play.cast
    dice = cast.dice
    world.faults = struck = cast.faults = faults.draw(world, play.seed, is_eventful=not cast.is_quiet)
    world.curse = None if cast.is_quiet else faults.curse(world, play.seed)
    play.struck = struck.struck
    play.start_worker("worker1")
    play.start_worker("worker2")
    door = cast.quiet_door if cast.is_quiet else cast.door(dice.randrange(2, 7))
    play.start("door", play.machines[0], door)
    others = ["door"]
    if dice.random() < 0.3 and not cast.is_quiet:
        play.start("door-b", play.machines[1], cast.door(dice.randrange(1, 4)))
        others.append("door-b")
    if dice.random() < 0.5 and not cast.is_quiet:
        play.start("command", play.machines[0], cast.command())
        others.append("command")
    world.run(lambda: all(play.is_through(name) for name in others) or world.steps > LONGEST_RUN // 2)
    world.faults = None
    play.end_upgrade()
    world.run(lambda: all(play.is_through(name) for name in others))
    play.service.trouble = 0.0
    _resume_all(play)
    play.settle()
    return list(invariants.violations(cast, play.service.paid, play.decodes))


def _resume_all(play: _Play) -> None:
    """Resume what was paused and rerun interrupted commands, as people do in the end."""
    from proxies.batches import lifecycle
    from proxies.batches.lifecycle import WrongState
    from proxies.models import Batch

    def people() -> None:
        for batch in Batch.objects.filter(standing=None, state__in=Batch.OPEN_STATES).order_by("id"):
            try:
                if batch.executor == Batch.Executor.LOCAL and batch.state == Batch.State.RUNNING:
                    lifecycle.pause(batch)
                if batch.state == Batch.State.PAUSED:
                    costs = batch.operation.startswith("analyze")
                    lifecycle.resume(batch, new_parameters={"max_cost": Decimal(9)} if costs else None)
                    play.cast.budgets.pop(batch.pk, None)
            except WrongState:
                continue

    play.world.spawn("people", play.machines[0], people)
    play.world.run(lambda: not play.is_alive("people"))


@lru_cache(maxsize=1)
def _caches(modules: int) -> list[Any]:
    """Return our modules' caches, collected again when more modules are loaded."""
    found = []
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in OURS and ".tests" not in name:
            found += [value for value in vars(module).values() if hasattr(value, "cache_clear")]
    return found


def _line_memory() -> Any:
    from analysis import pipeline

    return pipeline._answered

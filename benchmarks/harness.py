"""What all questions share: interleaved timing, tables, goals."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from proxies.processes.memory_guard import keep_freed_memory

# As a worker does; it benefits every library measured in this process.
keep_freed_memory()


@dataclass(frozen=True)
class Options:
    """Options of a run.

    Attributes:
        work: folder for all output.
        photos: folder of the user's own photographs; None for generated ones.
        short: run the short form, which takes under two minutes.
    """

    work: Path
    photos: Path | None
    short: bool

    @property
    def rounds(self) -> int:
        return 2 if self.short else 5


class Cost(NamedTuple):
    """Seconds taken by one run."""

    cpu: float
    wall: float


@dataclass
class Timing:
    """All runs of one way over some files."""

    costs: dict[str, list[Cost]] = field(default_factory=lambda: defaultdict(list))

    def add(self, file: str, cost: Cost) -> None:
        self.costs[file].append(cost)

    @property
    def cpu(self) -> float:
        """Median over the files of each file's median, ms."""
        return statistics.median(median(cost.cpu for cost in costs) for costs in self.costs.values()) * 1000

    @property
    def wall(self) -> float:
        return statistics.median(median(cost.wall for cost in costs) for costs in self.costs.values()) * 1000

    @property
    def spread(self) -> float:
        """Range of one file's CPU times as a share of their median (median over the files)."""
        shares = []
        for costs in self.costs.values():
            times = [cost.cpu for cost in costs]
            middle = statistics.median(times)
            shares.append((max(times) - min(times)) / middle if middle else 0.0)
        return statistics.median(shares)

    def only(self, files: Iterable[str]) -> Timing:
        wanted = set(files)
        return Timing({file: costs for file, costs in self.costs.items() if file in wanted})


def median(values: Iterable[float]) -> float:
    return statistics.median(list(values))


def clocked(act: Callable[[], object]) -> Cost:
    """Return what one call costs this process."""
    cpu, wall = time.process_time(), time.perf_counter()
    act()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


def in_turns(
    ways: Mapping[str, Callable[[Path], Cost]], files: Sequence[Path], rounds: int
) -> dict[str, Timing]:
    """Time each way on each file for `rounds` rounds, all ways in turn on the same file.

    The order rotates by one with each file and round, so the way that goes first changes.
    """
    names = list(ways)
    timings = {name: Timing() for name in names}
    for turn in range(rounds):
        for number, file in enumerate(files):
            first = (turn + number) % len(names)
            for name in names[first:] + names[:first]:
                timings[name].add(file.name, ways[name](file))
    return timings


@dataclass(frozen=True)
class Table:
    """Columns and rows, all text; the first column names the row."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Goal:
    """A measured value and the limit it must meet."""

    text: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def holds(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass(frozen=True)
class Answer:
    """The result of one question."""

    tables: Sequence[Table]
    goals: Sequence[Goal] = ()


def number(value: float, digits: int = 0) -> str:
    return f"{value:,.{digits}f}"


def ratio(value: float, of: float) -> str:
    return f"{value / of:.2f}" if of else "-"

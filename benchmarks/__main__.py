"""Benchmark NovaProxy against the hardware's limit and its peers; run by ``make bench``."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from benchmarks.harness import Answer, Options
from benchmarks.report import goal_lines, question_lines

QUESTIONS: Final = {
    "pixels": "The pixel path, by format",
    "inside_django": "One file inside Django",
    "batches": "Batches",
    "buckets": "Storage: requests, and 100 ms of latency",
    "memory": "Memory",
    "statements": "Database statements",
    "growth": "Growth",
    "serving": "Responsiveness",
    "startup": "Start-up",
}
PACKAGES: Final = (
    "Django", "django-q2", "Pillow", "cykooz.resizer", "pillow-heif", "pyvips-binary",
    "opencv-python-headless", "easy-thumbnails", "sorl-thumbnail", "django-imagekit", "django-pictures",
)  # fmt: skip

_OF_THE_SHORT_FORM: Final = """\
The short form is a rehearsal: three files stand for all, and batches of 16 are start-up for the most part.
Whether a goal holds is for the full form to say.
"""


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="photographs of your own")
    parser.add_argument("--short", action="store_true", help="under two minutes")
    parser.add_argument("--work", type=Path, default=Path("var/benchmarks"), metavar="FOLDER")
    parser.add_argument("--only", nargs="+", choices=QUESTIONS, default=list(QUESTIONS))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Run the questions, print which goals hold, and write the result file."""
    given = _arguments(arguments)
    given.work.mkdir(parents=True, exist_ok=True)
    options = Options(given.work.resolve(), given.photos, given.short)
    path = given.work / ("short.json" if given.short else "result.json")
    print(f"{machine()}\n{versions()}\n")
    goals = []
    for name in given.only:
        question = _ask(name, options)
        goals += question["goals"]
        print("\n".join(question_lines(question)), flush=True)
        _keep(name, question, path)
    if given.short:
        print(_OF_THE_SHORT_FORM)
    print("\n".join(goal_lines(goals)))
    print(f"Written to {path}.")
    return 0


def _ask(name: str, options: Options) -> dict[str, Any]:
    began, load = time.monotonic(), os.getloadavg()[0]
    answer: Answer = importlib.import_module(f"benchmarks.{name}").measure(options)
    return {
        "title": QUESTIONS[name],
        "load": round(load, 1),
        "seconds": round(time.monotonic() - began),
        "tables": [asdict(table) for table in answer.tables],
        "goals": [asdict(goal) | {"holds": goal.holds} for goal in answer.goals],
    }


def _keep(name: str, question: dict[str, Any], path: Path) -> None:
    """Write an answer into the result file; questions not run this time keep their previous answer."""
    answers = json.loads(path.read_text())["questions"] if path.exists() else {}
    answers[name] = question
    questions = {name: answers[name] for name in QUESTIONS if name in answers}
    path.write_text(
        json.dumps({"machine": machine(), "versions": versions(), "questions": questions}, indent=1)
    )


def machine() -> str:
    """Return a description of this machine: cores, memory, system, Python version."""
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(": ")[2] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}"
    )


def versions() -> str:
    """Return the versions of all compared packages."""
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""How long the commands take to start, and which heavy modules they import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Final

from benchmarks.harness import Answer, Cost, Goal, Options, Table, median, number
from novaproxy_site.tests.environment import clean_environment
from novaproxy_site.tests.installation import ROOT

HEAVY: Final = (
    "boto3", "botocore", "numpy", "PIL", "cykooz_resizer", "pillow_heif", "pi_heif", "psycopg", "redis",
)  # fmt: skip
# With files in a local folder, these are never needed.
FORBIDDEN: Final = ("boto3", "botocore", "numpy")
COMMANDS: Final = (("check",), ("create_image_proxies", "--help"), ("import_media", "--help"))
_IMPORTS = """
import atexit, json, runpy, sys
sys.argv = ["manage.py", *{arguments!r}]
atexit.register(lambda: sys.stderr.write("\\n" + json.dumps(sorted(sys.modules))))
runpy.run_path("manage.py", run_name="__main__")
"""


def measure(options: Options) -> Answer:
    rows, loaded = [], set()
    for arguments in COMMANDS:
        costs = [_cost([sys.executable, "manage.py", *arguments]) for _ in range(options.rounds)]
        modules = _modules(arguments)
        heavy = [name for name in HEAVY if name in modules]
        loaded |= set(heavy) & set(FORBIDDEN)
        rows.append(
            [
                " ".join(("manage.py", *arguments)),
                number(1000 * median(cost.cpu for cost in costs)),
                number(1000 * median(cost.wall for cost in costs)),
                number(len(modules)),
                ", ".join(heavy) or "none",
            ]
        )
    bare = [_cost([sys.executable, "-c", "import django"]) for _ in range(options.rounds)]
    notes = [f"Python with Django imported alone: {1000 * median(cost.cpu for cost in bare):.0f} ms of CPU."]
    columns = ("command", "CPU ms", "wall ms", "modules", "heavy ones among them")
    goal = Goal("Start-up: modules of boto3 and numpy that are loaded", len(loaded), 0)
    return Answer([Table("Start-up", columns, rows, notes)], [goal])


def _environment(folder: str) -> dict[str, str]:
    return clean_environment(os.environ) | {"NOVAPROXY_DATA_DIR": folder}


def _cost(command: list[str]) -> Cost:
    with tempfile.TemporaryDirectory(prefix="novaproxy-bench-") as folder:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=ROOT, env=_environment(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = 0  # wait4 has already reaped it
        return Cost(used.ru_utime + used.ru_stime, time.perf_counter() - began)


def _modules(arguments: tuple[str, ...]) -> set[str]:
    with tempfile.TemporaryDirectory(prefix="novaproxy-bench-") as folder:
        source = _IMPORTS.format(arguments=list(arguments))
        done = subprocess.run(
            [sys.executable, "-c", source],
            cwd=ROOT, env=_environment(folder), capture_output=True, text=True, check=True,
        )  # fmt: skip
    return set(json.loads(done.stderr.splitlines()[-1]))

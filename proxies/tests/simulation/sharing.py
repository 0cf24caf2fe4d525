"""Run many seeds on all cores, each range of them in its own process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed

IN_ONE_PROCESS = 100
"""Seeds per process: enough that its start-up time does not matter, few enough to finish soon."""


class SimulationBroken(Exception):
    """A process of the simulation ended, but not because a run failed."""


def cores() -> int:
    """Return how many processes to run at a time."""
    return os.cpu_count() or 1


def play(*arguments: str) -> tuple[int | None, str]:
    """Run the simulation in a process; return the first failing seed, if any, and the output.

    Raises:
        SimulationBroken: the process failed for another reason.
    """
    command = [sys.executable, "-m", "proxies.tests.simulation", *arguments]
    played = subprocess.run(command, capture_output=True, text=True, check=False)
    failed = re.search(r"^seed (\d+): ", played.stdout, re.MULTILINE)
    if played.returncode not in (0, 1) or (played.returncode == 1 and failed is None):
        raise SimulationBroken(played.stderr[-2000:])
    return (int(failed[1]) if failed else None), played.stdout


def play_shared(first: int, count: int) -> int:
    """Share the seeds over the cores until one fails; return 0 if none does, else 1."""
    ranges = [
        (start, min(IN_ONE_PROCESS, first + count - start))
        for start in range(first, first + count, IN_ONE_PROCESS)
    ]
    with ThreadPoolExecutor(cores()) as pool:
        playing = {pool.submit(play, str(start), str(number), "--first"): start for start, number in ranges}
        for future in as_completed(playing):
            failed, printed = future.result()
            sys.stdout.write(f"From {playing[future]}: {printed}")
            if failed is not None:
                pool.shutdown(wait=False, cancel_futures=True)
                sys.stdout.write(f"Replay it: python -m proxies.tests.simulation {failed}\n")
                return 1
            sys.stdout.flush()
    return 0

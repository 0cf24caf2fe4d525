"""Many short runs of the ledger with everything going wrong; each can be replayed from its seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxies.tests.simulation import mutants

PROJECT = Path(__file__).parents[2]
SEEDS = 1000
IN_ONE_PROCESS = 100


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the simulation in a separate process, because it replaces clock, threads, pids and more."""
    return subprocess.run(
        [sys.executable, "-m", "proxies.tests.simulation", *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
    )


def digests(first: int, count: int) -> dict[str, str]:
    """Return the hashes of the runs' traces, by seed."""
    lines = [
        line.partition(": ") for line in simulate(str(first), str(count), "--digest").stdout.splitlines()
    ]
    return {seed: rest for seed, _, rest in lines if len(rest) == 16}


@pytest.mark.parametrize("first", range(1, SEEDS + 1, IN_ONE_PROCESS))
def test_every_run_ends_in_order(first: int) -> None:
    """Replay a failing seed with ``python -m proxies.tests.simulation SEED``."""
    played = simulate(str(first), str(IN_ONE_PROCESS))
    assert played.returncode == 0, played.stdout[-10_000:] + played.stderr[-5_000:]


def test_a_seed_repeats_its_run_alone_and_after_others() -> None:
    together = digests(31, 20)
    assert len(together) == 20
    for seed in (34, 50):
        assert digests(seed, 1) == {f"seed {seed}": together[f"seed {seed}"]}


@pytest.mark.parametrize("seed", [829, 8895, 33110551064])
def test_a_seed_that_failed_before_passes(seed: int) -> None:
    """Each of these found a bug once, as did some of those above: see `docs/chaos.md`."""
    played = simulate(str(seed), "1")
    assert played.returncode == 0, played.stdout


def test_a_replay_shows_its_scheduling_points() -> None:
    shown = simulate("31").stdout
    assert "sql SELECT" in shown
    assert "storage before" in shown
    assert "committed" in shown


@pytest.mark.parametrize("name", mutants.MUTANTS)
def test_the_lines_that_a_mutant_replaces_exist(name: str) -> None:
    mutants.check(name)


def test_a_mutant_fails_where_the_code_does_not() -> None:
    """`make simulation-proof` shows this for each mutant."""
    name = "stale-content-key"
    seed = str(mutants.MUTANTS[name].seed)
    assert simulate(seed, "1", "--mutant", name).returncode == 1
    assert simulate(seed, "1").returncode == 0

"""Prove that the simulation finds faults: for each mutant, a seed that fails with it and passes without."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from proxies.tests.simulation.mutants import MUTANTS
from proxies.tests.simulation.sharing import cores, play


def prove(seeds: int, names: Sequence[str] = ()) -> int:
    """Play each mutant at its seed, or search for another one; return 0 if nine of ten have one.

    Args:
        seeds: search from 1 to this seed where the known one no longer shows a difference.
        names: mutants; by default all that have a known seed.
    """
    chosen = list(names) or [name for name, mutant in MUTANTS.items() if mutant.seed is not None]
    found = 0
    with ThreadPoolExecutor(cores()) as pool:
        for name, seed in zip(chosen, pool.map(lambda name: _proof_of(name, seeds), chosen), strict=True):
            found += seed is not None
            sys.stdout.write(f"{name}: {'not found' if seed is None else f'seed {seed}'}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{found} of {len(chosen)} found\n")
    return 0 if found * 10 >= len(chosen) * 9 else 1


def _proof_of(name: str, seeds: int) -> int | None:
    known = MUTANTS[name].seed
    if known is not None and _makes_a_difference(name, known):
        return known
    return _search(name, seeds)


def _makes_a_difference(name: str, seed: int) -> bool:
    return play(str(seed), "1", "--mutant", name)[0] is not None and play(str(seed), "1")[0] is None


def _search(name: str, seeds: int) -> int | None:
    """Return the first seed whose run fails with the mutant and passes without it."""
    first = 1
    while first <= seeds:
        failed, _ = play(str(first), str(seeds + 1 - first), "--first", "--mutant", name)
        if failed is None or play(str(failed), "1")[0] is None:
            return failed
        first = failed + 1
    return None

"""The simulation's command line, and the set-up of its process."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from proxies.tests.simulation import mutants, proof, sharing, threads

NOT_INSTALLED = 69
"""Exit code where PostgreSQL is requested but not installed: EX_UNAVAILABLE."""
POSTGRES_HELP = "run on PostgreSQL: on the server at URL, as a superuser, or on one started for it"


def set_up() -> None:
    """Set up Django with the simulation's settings in this process."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "proxies.tests.simulation.settings"
    threads.install_before_django()
    import django

    from proxies.tests.simulation import quick

    django.setup()
    quick.install()
    logging.disable(logging.CRITICAL)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return 0 if all is well, 1 if a run failed."""
    parser = ArgumentParser(prog="python -m proxies.tests.simulation", description=__doc__)
    parser.add_argument("seed", type=int, nargs="?")
    parser.add_argument("count", type=int, nargs="?", help="this many seeds from there, without their traces")
    parser.add_argument("--mutant", help="a fix to be taken back first (see mutants.py)")
    parser.add_argument("--first", action="store_true", help="end with the first seed that fails")
    parser.add_argument("--digest", action="store_true", help="show each run's hash")
    parser.add_argument("--shared", action="store_true", help="share the seeds over all cores")
    parser.add_argument("--proof", type=int, metavar="SEEDS", help="find each mutant within so many seeds")
    parser.add_argument("--step", type=int, default=1, help="play each STEPth seed only")
    parser.add_argument("--postgres", nargs="?", const="", metavar="URL", help=POSTGRES_HELP)
    options = parser.parse_args(arguments)
    if options.proof:
        return proof.prove(options.proof, [options.mutant] if options.mutant else [])
    if options.seed is None:
        parser.error("Which seed?")
    if options.shared and options.postgres is not None:
        parser.error("Runs on PostgreSQL are not shared over the cores. Leave out --shared.")
    if options.shared:
        return sharing.play_shared(options.seed, options.count or 1)
    return play(options)


def play(options: Namespace) -> int:
    """Play the seeds in this process; return 0 if all is well, 1 if a run failed."""
    if options.mutant:
        mutants.apply(options.mutant)
    if options.postgres is None:
        return _play(options)
    # The server's modules import thread pools by name, so those must be replaced first.
    threads.install_before_django()
    from novaproxy_site.tests.servers import ServerMissing
    from proxies.tests.simulation.server import simulated_on_postgres

    try:
        with simulated_on_postgres(options.postgres):
            return _play(options)
    except ServerMissing as missing:
        sys.stdout.write(f"Nothing was run on PostgreSQL: {missing}.\n")
        return NOT_INSTALLED


def _play(options: Namespace) -> int:
    set_up()
    from django.conf import settings

    from proxies.tests.simulation.run import run

    failed = played = 0
    count = options.count or 1
    began = time.perf_counter()
    out = sys.stdout
    try:
        for seed in range(options.seed, options.seed + count * options.step, options.step):
            played += 1
            outcome = run(seed)
            if options.count is None:
                out.writelines(
                    f"{number:5} {' '.join(entry)}\n" for number, entry in enumerate(outcome.trace)
                )
            if options.digest:
                out.write(f"seed {seed}: {outcome.digest}\n")
            for violation in outcome.violations:
                out.write(f"seed {seed}: {violation}\n")
            if outcome.violations:
                failed += 1
                out.write(f"seed {seed}: struck by {'; '.join(outcome.struck) or 'nothing'}\n")
                out.flush()
                if options.first:
                    break
        seconds = time.perf_counter() - began
        out.write(f"{failed} of {played} runs failed, {seconds:.1f} s\n")
    finally:
        shutil.rmtree(Path(settings.DATA_DIR), ignore_errors=True)
    return 1 if failed else 0

"""Replay one seed with its trace, or play many: ``python -m proxies.tests.simulation SEED [COUNT]``."""

from __future__ import annotations

import os
import sys


def main() -> int:
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Sets of strings then have the same order in each process.
        command = [sys.executable, "-m", "proxies.tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | {"PYTHONHASHSEED": "0"})  # noqa: S606 - ourselves
    from proxies.tests.simulation import playing

    return playing.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())

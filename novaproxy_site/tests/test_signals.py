"""After Ctrl-C or SIGTERM at any point of an import, an upload or a replacement, rows and files agree."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from novaproxy_site.tests.installation import ROOT, Installation
from proxies.tests.crashing import scan

ROUNDS = max(2, 4 * int(os.environ.get("NOVAPROXY_CHAOS_ROUNDS", "0")))
SEED = int(os.environ.get("NOVAPROXY_CHAOS_SEED", "1"))
SIGNALS = (signal.SIGINT, signal.SIGTERM)
PICTURES = 60


def disagreements(installation: Installation) -> list[str]:
    printed = installation.shell("""
        import json
        from datetime import timedelta
        from django.utils.timezone import now
        from novaproxy_site.tests import agreement
        from proxies.batches.sweeper import sweep
        from proxies.models import ProxyLease
        agreement.age_notes()
        ProxyLease.objects.update(until=now() - timedelta(seconds=1))
        sweep()
        print(json.dumps(list(agreement.disagreements())))
    """)
    found: list[str] = json.loads(printed)
    return found


def rows(installation: Installation) -> int:
    return int(
        installation.shell("from media_files.models import MediaFile; print(MediaFile.objects.count())")
    )


@pytest.mark.parametrize("mode", ["queue", "inline"])
def test_rows_and_files_agree_after_interrupting_an_import(
    mode: str, install: Callable[..., Installation], tmp_path: Path
) -> None:
    installation = install(NOVAPROXY_ON_SAVE=mode)
    folder = tmp_path / "photographs"
    folder.mkdir()
    for seed in range(PICTURES):
        (folder / f"{seed:03}.tif").write_bytes(scan(seed))
    dice = random.Random(SEED)
    for number in range(ROUNDS):
        process = installation.popen("import_media", folder, "--json")
        interrupt(process, dice, SIGNALS[number % 2], most_lines=PICTURES // ROUNDS + 2)
        assert disagreements(installation) == [], f"round {number}"
    installation.manage("import_media", folder)
    assert rows(installation) == PICTURES
    assert disagreements(installation) == []


@pytest.mark.parametrize("door", ["upload", "replace"])
def test_rows_and_files_agree_after_interrupting_uploads_or_replacements(
    door: str, install: Callable[..., Installation], tmp_path: Path
) -> None:
    installation = install()
    first = tmp_path / "first.tif"
    first.write_bytes(scan(999_999))
    installation.manage("import_media", first)
    dice = random.Random(SEED)
    for number in range(ROUNDS):
        process = subprocess.Popen(
            [sys.executable, "-m", "novaproxy_site.tests.signalled", door, str(number * 1000)],
            env=installation.environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        interrupt(process, dice, SIGNALS[number % 2], most_lines=8)
        assert disagreements(installation) == [], f"round {number}"


def interrupt(
    process: subprocess.Popen[str], dice: random.Random, signum: signal.Signals, *, most_lines: int
) -> None:
    """Send the signal at a random moment after some files are done, or none; wait for the process to end."""
    assert process.stdout is not None
    with process, process.stdout:
        for _ in range(dice.randint(1, most_lines)):
            if not process.stdout.readline():
                break
        # Vary the moment within a file's processing: statements and writes take fractions of a millisecond.
        for _ in range(dice.randrange(200_000)):
            pass
        process.send_signal(signum)
        process.stdout.read()
        process.wait(timeout=60)

"""Child processes for questions that need their own process, database or environment; output is JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from novaproxy_site.tests.environment import clean_environment
from novaproxy_site.tests.installation import ROOT, Installation


@contextmanager
def installation(**environment: str) -> Iterator[Installation]:
    """Yield a migrated installation on SQLite, or on DATABASE_URL's database; delete it afterwards."""
    with tempfile.TemporaryDirectory(prefix="novaproxy-bench-", ignore_cleanup_errors=True) as folder:
        made = Installation(Path(folder), **{"DEBUG": "0", **environment})
        try:
            made.manage("migrate", "--verbosity=0")
            yield made
        finally:
            made.close()


def ask(module: str, *arguments: object, environment: Mapping[str, str] | None = None) -> Any:
    """Run ``python -m benchmarks.MODULE ARGUMENTS`` with an empty data folder; return its JSON output."""
    with tempfile.TemporaryDirectory(prefix="novaproxy-bench-", ignore_cleanup_errors=True) as folder:
        variables = clean_environment(os.environ) | {
            "NOVAPROXY_DATA_DIR": folder,
            "NOVAPROXY_ON_SAVE": "off",
            "DEBUG": "0",
            "DJANGO_SETTINGS_MODULE": "novaproxy_site.settings",
        }
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)],
            env=variables | dict(environment or {}),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"benchmarks.{module} exited with {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def set_up_django() -> None:
    """Set up Django in a child, with the environment's settings and an empty migrated database."""
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)

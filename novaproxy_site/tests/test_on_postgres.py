"""Run in-process tests of storage and billing again on PostgreSQL."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from novaproxy_site.tests.servers import PostgresServer

PROJECT = Path(__file__).parents[2]


@pytest.mark.postgres
@pytest.mark.parametrize(
    "tests",
    [
        "novaproxy_site/tests/test_files_and_rows.py",  # a fault at each statement, commit and storage call
        "analysis/tests/test_run_scope.py",  # limits, and resuming a run
        "analysis/tests/test_operation.py",  # budgets
    ],
)
def test_tests_pass_on_postgresql(postgres_server: PostgresServer, tests: str) -> None:
    url = postgres_server.url(postgres_server.make_database())
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests],
        cwd=PROJECT,
        env=os.environ | {"NOVAPROXY_TEST_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-10_000:] + run.stderr[-5_000:]

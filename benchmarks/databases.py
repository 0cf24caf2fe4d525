"""The databases to measure: SQLite in a file, and a PostgreSQL server if it is installed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from novaproxy_site.tests.servers import ServerMissing, run_postgres


@contextmanager
def databases() -> Iterator[dict[str, str]]:
    """Yield the DATABASE_URL of an empty database of each kind, by name."""
    with ExitStack() as stack:

        def folder() -> Path:
            made = tempfile.TemporaryDirectory(prefix="novaproxy-bench-", ignore_cleanup_errors=True)
            return Path(stack.enter_context(made))

        urls = {"SQLite": f"sqlite:///{folder() / 'benchmark.sqlite3'}"}
        try:
            server = stack.enter_context(run_postgres(folder()))
        except ServerMissing as missing:
            print(f"PostgreSQL is not measured: {missing}")
        else:
            urls["PostgreSQL"] = server.url(server.make_database())
        yield urls

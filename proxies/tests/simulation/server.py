"""The PostgreSQL server of a simulation: an existing one, or one started for it."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from proxies.tests.simulation.postgres import OPTIONS, watch_locks

VARIABLE = "NOVAPROXY_TEST_SIMULATION_DATABASE"


@contextmanager
def simulated_on_postgres(url: str = "") -> Iterator[None]:
    """Run the simulation of this process in its own database, which is dropped at the end.

    Args:
        url: of any database of a server, as a superuser; without it, a server is started.

    Raises:
        ServerMissing: PostgreSQL is not installed.
    """
    from novaproxy_site.tests.servers import run_postgres

    if url:
        with _own_database(url):
            yield
        return
    with (
        tempfile.TemporaryDirectory(prefix="novaproxy-server-", ignore_cleanup_errors=True) as folder,
        run_postgres(Path(folder)) as server,
        _own_database(server.url("postgres")),
    ):
        yield


@contextmanager
def _own_database(url: str) -> Iterator[None]:
    import psycopg
    from psycopg import sql

    name = f"novaproxy_simulation_{secrets.token_hex(6)}"
    parts = urlsplit(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        os.environ[VARIABLE] = urlunsplit(parts._replace(path=f"/{name}", query=f"options={quote(OPTIONS)}"))
        try:
            with watch_locks(url):
                yield
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

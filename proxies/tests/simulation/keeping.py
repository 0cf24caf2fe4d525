"""Initial states of the database: saved once, restored before each run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Protocol

from django.conf import settings
from django.db import connection, connections


class Kept(Protocol):
    """The saved states of one database."""

    def keep(self, name: str) -> None:
        """Save the database's present state under a name."""

    def restore(self, name: str) -> None:
        """Restore a saved state."""


def kept_states() -> Kept:
    """Return the saved states of the configured database, whose tables exist."""
    return _SqliteFiles() if connection.vendor == "sqlite" else _PostgresSchemas()


class _SqliteFiles:
    """Copies of the database file."""

    def __init__(self) -> None:
        self._database = Path(str(settings.DATABASES["default"]["NAME"]))

    def _copy(self, name: str) -> Path:
        return self._database.with_name(f"{name}.sqlite3")

    def keep(self, name: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connections.close_all()
        shutil.copyfile(self._database, self._copy(name))

    def restore(self, name: str) -> None:
        connections.close_all()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._database}{suffix}").unlink(missing_ok=True)
        shutil.copyfile(self._copy(name), self._database)


class _PostgresSchemas:
    """Copies of the tables, one schema per state.

    Tables are truncated and filled in a fixed order, because the position of a row in its file decides the
    order of rows that a query without ORDER BY returns.
    """

    def __init__(self) -> None:
        self._tables = sorted(connection.introspection.table_names())
        self._scripts: dict[str, str] = {}
        with connection.cursor() as cursor:
            for table in self._tables:
                # Statistics gathered at a time of the server's choosing would change plans between runs.
                cursor.execute(f"ALTER TABLE {_quoted(table)} SET (autovacuum_enabled = off)")

    def keep(self, name: str) -> None:
        script = [
            f"TRUNCATE {', '.join(map(_quoted, self._tables))} RESTART IDENTITY",
            # The results of ANALYZE survive a TRUNCATE; the catalogue's own tables keep theirs.
            "DELETE FROM pg_statistic WHERE starelid >= 16384",
        ]
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA {_quoted(name)}")
            for table in self._tables:
                copy = f"{_quoted(name)}.{_quoted(table)}"
                cursor.execute(f"CREATE TABLE {copy} AS TABLE {_quoted(table)}")
                if cursor.rowcount:
                    script.append(f"INSERT INTO {_quoted(table)} SELECT * FROM {copy}")  # noqa: S608 - ours
            cursor.execute(
                "SELECT sequencename, last_value FROM pg_sequences"
                " WHERE schemaname = 'public' AND last_value IS NOT NULL ORDER BY sequencename"
            )
            script += [f"SELECT setval('{_quoted(each)}', {value})" for each, value in cursor.fetchall()]
        self._scripts[name] = "; ".join(script)
        connections.close_all()

    def restore(self, name: str) -> None:
        with connection.cursor() as cursor:
            # Without foreign key checks, tables can be filled in any order.
            cursor.execute("SET session_replication_role = replica")
            cursor.execute(self._scripts[name])
        connections.close_all()


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)

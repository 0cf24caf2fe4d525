"""Distinguish outages from other database errors."""

from __future__ import annotations

from typing import Final

from django.db import Error, InterfaceError, OperationalError, connection

OUTAGES: Final = (OperationalError, InterfaceError)
"""The database is unreachable or locked, or dropped the connection: the same statement may succeed later.

`DataError`, `IntegrityError` and the like come from a working database: the value or the program is wrong,
and a retry would fail the same way.
"""

# SQLite's messages and PostgreSQL's codes for an unknown table or column.
_SQLITE_WORDS: Final = ("no such table", "no such column", "has no column")
_POSTGRES_CODES: Final = frozenset({"42P01", "42703"})


def is_reachable() -> bool:
    """Return whether a new connection succeeds, that is: the settings are right and the server runs."""
    try:
        connection.close()
        connection.ensure_connection()
    except Error:
        return False
    return True


def is_schema_missing(error: Error) -> bool:
    """Return whether a statement failed because a migration that adds a table or column has not run yet."""
    code = getattr(error.__cause__, "sqlstate", None)
    return code in _POSTGRES_CODES or any(words in str(error) for words in _SQLITE_WORDS)

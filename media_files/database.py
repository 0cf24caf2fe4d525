"""Which of a database's errors are an outage."""

from __future__ import annotations

from typing import Final

from django.db import Error, InterfaceError, OperationalError, connection

OUTAGES: Final = (OperationalError, InterfaceError)
"""The database cannot be reached, is locked, or broke off: the same statement may succeed later.

`DataError`, `IntegrityError` and the like are answers of a database that works: the value or the program is
wrong, and a retry meets the same.
"""

# SQLite's words, and PostgreSQL's codes for an unknown table and an unknown column.
_SQLITE_WORDS: Final = ("no such table", "no such column", "has no column")
_POSTGRES_CODES: Final = frozenset({"42P01", "42703"})


def is_reachable() -> bool:
    """Whether a new connection can be made: the settings are right, and the server runs."""
    try:
        connection.close()
        connection.ensure_connection()
    except Error:
        return False
    return True


def is_schema_missing(error: Error) -> bool:
    """Whether a statement failed for a table or a column that no migration has made yet."""
    code = getattr(error.__cause__, "sqlstate", None)
    return code in _POSTGRES_CODES or any(words in str(error) for words in _SQLITE_WORDS)

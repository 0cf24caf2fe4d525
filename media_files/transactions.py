"""Run checks after the end of the caller's transaction, whether it commits or rolls back.

The note for a file that is stored inside a transaction cannot be committed before the bytes are stored, and a
rollback would undo it. Django has no rollback hook, so the check is kept here until this thread has left the
transaction.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from django.db import connection
from django.db.transaction import Atomic

Check = Callable[[], None]


class _Waiting(threading.local):
    def __init__(self) -> None:
        self.checks: list[tuple[Atomic | None, Check]] = []


_waiting = _Waiting()


def in_transaction() -> bool:
    """Return whether the caller has an open transaction. That of a Django `TestCase` does not count."""
    return any(not getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)


def after_the_end(check: Check) -> None:
    """Schedule ``check`` for the first `look_back` outside the caller's transaction."""
    _waiting.checks.append((_test_case(), check))


def look_back() -> None:
    """Call the checks whose transactions have ended. One that raises is called again by the next call."""
    while _waiting.checks and not in_transaction():
        test_case, check = _waiting.checks[0]
        # Skip the checks of another `TestCase`, whose files no longer exist.
        if test_case is _test_case():
            check()
        _waiting.checks.pop(0)


def _test_case() -> Atomic | None:
    first = connection.atomic_blocks[0] if connection.atomic_blocks else None
    return first if getattr(first, "_from_testcase", False) else None

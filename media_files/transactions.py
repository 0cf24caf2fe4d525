"""Work that must wait for the end of a caller's transaction, however it ends.

The note of a file that is stored inside a transaction cannot be committed before the bytes are, and a
rollback would take it along. Django calls nobody back after a rollback, so the check is kept here until this
thread is outside the transaction.
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
    """Whether the caller has a transaction open. That of a Django `TestCase` does not count."""
    return any(not getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)


def after_the_end(check: Check) -> None:
    """Have ``check`` called by the first `look_back` outside the caller's transaction."""
    _waiting.checks.append((_test_case(), check))


def look_back() -> None:
    """Call the checks whose transactions have ended; one that raises is called again by the next."""
    while _waiting.checks and not in_transaction():
        test_case, check = _waiting.checks[0]
        # What a `TestCase` stored has gone with it.
        if test_case is _test_case():
            check()
        _waiting.checks.pop(0)


def _test_case() -> Atomic | None:
    first = connection.atomic_blocks[0] if connection.atomic_blocks else None
    return first if getattr(first, "_from_testcase", False) else None

"""Inject faults at every point where this process touches the database or a storage.

Running an action counts its points, so new statements are tested without being listed anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from typing import Any
from unittest import mock

from django.db import OperationalError, connection

from media_files.errors import StorageError
from media_files.storage.local import LocalStorage

FAULTS = ("error", "lost", "interrupt")
"""``error`` fails one call, ``lost`` that and all later database calls, ``interrupt`` is a Ctrl-C."""


class HookFailed(Exception):
    """Raised by a commit hook: an error that is not one of the product's."""


class Points:
    """Counts the points that an action passes, and fails at one of them.

    Attributes:
        where: the point at which it failed; empty if the action ended earlier.
    """

    def __init__(self, number: int, fault: str) -> None:
        self.where = ""
        self._left = number
        self._fault = fault
        self._lost = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Make a point before and after each statement, commit, commit hook and storage call."""
        with ExitStack() as stack:
            stack.enter_context(connection.execute_wrapper(self._statement))
            # Called by `commit`, and at the end of every atomic block.
            commit = self._around(connection._commit, "commit", OperationalError)  # type: ignore[attr-defined]
            stack.enter_context(mock.patch.object(connection, "_commit", commit))
            register = connection.on_commit

            def on_commit(hook: Callable[[], Any], robust: bool = False) -> None:
                register(self._around(hook, "hook", HookFailed), robust)

            stack.enter_context(mock.patch.object(connection, "on_commit", on_commit))
            for name in ("put", "fetch", "stat", "delete"):
                call = self._around(getattr(LocalStorage, name), name, StorageError)
                stack.enter_context(mock.patch.object(LocalStorage, name, call))
            yield

    def _statement(self, execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if self._lost:
            raise OperationalError("connection lost")
        return self._around(execute, sql[:70], OperationalError)(sql, *rest)

    def _around(self, call: Callable[..., Any], where: str, error: type[Exception]) -> Callable[..., Any]:
        def around(*args: Any, **kwargs: Any) -> Any:
            self._pass(f"before {where}", error)
            with ExitStack() as stack:
                result = call(*args, **kwargs)
                if where == "fetch":
                    stack.callback(result.close)  # the caller cannot if the fault hides the result
                self._pass(f"after {where}", error)
                stack.pop_all()
            return result

        return around

    def _pass(self, where: str, error: type[Exception]) -> None:
        self._left -= 1
        if self._left:
            return
        self.where = where
        if where.startswith("after BEGIN"):
            # Django does not know yet that a transaction is open. If BEGIN fails, there is none.
            connection.connection.rollback()
        if self._fault == "interrupt":
            raise KeyboardInterrupt
        if self._fault == "lost":
            self._lost = True
            raise OperationalError("connection lost")
        raise error(f"injected {where}")


def fail_everywhere(
    act: Callable[[Any], object], prepare: Callable[[int], Any], fault: str
) -> Iterator[tuple[str, Any]]:
    """Run ``act(prepare(n))`` with a fault at its n-th point, for each such n; yield each point's name.

    `make chaos` takes every point. Otherwise every 7th point is taken, with a different first point for each
    fault, so that the faults together cover more of them.
    Exceptions of the action are ignored: only what it leaves behind matters.
    """
    everywhere = "NOVAPROXY_CHAOS_ROUNDS" in os.environ
    first, step = (1, 1) if everywhere else (1 + FAULTS.index(fault) * 2, 7)
    for number in count(first, step):
        prepared = prepare(number)
        points = Points(number, fault)
        with points.watched(), suppress(Exception, KeyboardInterrupt, SystemExit):
            act(prepared)
        end_the_connection()
        if not points.where:
            return
        yield points.where, prepared


def end_the_connection() -> None:
    """Roll back an open transaction and close the connection, as the end of the process would."""
    if connection.connection is not None:
        connection.connection.rollback()
    connection.run_on_commit = []
    connection.in_atomic_block = False
    connection.needs_rollback = False
    connection.savepoint_ids = []
    connection.atomic_blocks = []
    connection.close()

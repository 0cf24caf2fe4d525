"""Django's database calls as scheduling points, and a connection for each simulated thread."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import lru_cache
from typing import Any
from unittest import mock

from proxies.tests.simulation import present
from proxies.tests.simulation.clock import database_clock
from proxies.tests.simulation.scheduler import Fiber, Killed, World


class PerFiber:
    """Replacement for the thread-local that holds Django's connections: one set per simulated thread."""

    def __init__(self) -> None:
        object.__setattr__(self, "_outside", {})

    def _mine(self) -> dict[str, Any]:
        fiber = present.fiber()
        if fiber is not None:
            return fiber.connections
        outside: dict[str, Any] = object.__getattribute__(self, "_outside")
        return outside

    def __getattr__(self, name: str) -> Any:
        try:
            return self._mine()[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self._mine()[name] = value

    def __delattr__(self, name: str) -> None:
        del self._mine()[name]


def drop_connections(fiber: Fiber) -> None:
    """Close the connections of a fiber whose process has ended, and roll back what it had not committed."""
    for wrapper in fiber.connections.values():
        if wrapper.connection is not None:
            wrapper.connection.close()
    present.get().epoch += 1


def break_connections(fiber: Fiber) -> None:
    """Interrupt the database: SQLite rolls back, a connection to a server is closed."""
    for wrapper in fiber.connections.values():
        if wrapper.connection is not None and wrapper.vendor == "sqlite":
            wrapper.connection.rollback()
        elif wrapper.connection is not None:
            wrapper.connection.close()
            wrapper.errors_occurred = True
    present.get().epoch += 1


def statement_at_a_point(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
    """Run a statement at a scheduling point; while another fiber holds SQLite's lock, let the others run."""
    fiber = present.fiber()
    if fiber is None:
        return execute(sql, params, many, context)
    world = present.get()
    fiber.process.last_statement = sql
    world.point("begin" if sql.startswith("BEGIN") else "sql", _shortened(sql))
    if world.curse is not None:
        world.curse.strike_statement(sql, params)
    sql = database_clock(sql, world.clock)
    while True:
        seen = world.epoch
        try:
            return execute(sql, params, many, context)
        except Exception as error:
            if "database is locked" not in str(error):
                raise
            # Real SQLite waits for 20 s. A process that holds the lock here and never releases it blocks all
            # others, which ends the run.
            context["connection"].errors_occurred = False
            world.block(_has_moved_on(world, seen))


def _has_moved_on(world: World, seen: int) -> Callable[[], bool]:
    return lambda: world.epoch != seen


@lru_cache(maxsize=4096)
def _shortened(sql: str) -> str:
    if "SAVEPOINT" in sql:
        return sql.partition(" ")[0]  # its name contains the thread's number
    short = " ".join(sql.split())
    return short if len(short) < 90 else f"{short[:45]}...{short[-42:]}"


def _refuse_the_dead() -> None:
    fiber = present.fiber()
    if fiber is not None and not fiber.process.alive:
        raise Killed


def install(patches: ExitStack) -> None:
    """Add scheduling points around commits and hooks; give each simulated thread its own connections."""
    from django.db import connections
    from django.db.backends.base.base import BaseDatabaseWrapper

    for name, around in (
        ("_commit", _around_commit),
        ("_rollback", _around_rollback),
        ("connect", _around_connect),
        ("on_commit", _around_on_commit),
    ):
        patched = around(getattr(BaseDatabaseWrapper, name))
        patches.enter_context(mock.patch.object(BaseDatabaseWrapper, name, patched))
    patches.enter_context(mock.patch.object(connections, "_connections", PerFiber()))


def _around_commit(commit: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def patched(self: Any) -> None:
        if present.fiber() is None:
            commit(self)
            return
        world = present.get()
        world.point("commit")
        commit(self)
        world.epoch += 1
        world.point("committed")

    return patched


def _around_rollback(rollback: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def patched(self: Any) -> None:
        _refuse_the_dead()
        rollback(self)
        present.get().epoch += 1

    return patched


def _around_connect(connect: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def patched(self: Any) -> None:
        _refuse_the_dead()
        connect(self)
        if statement_at_a_point not in self.execute_wrappers:
            self.execute_wrappers.append(statement_at_a_point)

    return patched


def _around_on_commit(on_commit: Callable[..., Any]) -> Callable[..., Any]:
    def patched(self: Any, func: Callable[[], Any], robust: bool = False) -> None:
        def hook() -> None:
            present.point("hook", "before")
            func()
            present.point("hook", "after")

        on_commit(self, hook, robust)

    return patched

"""PostgreSQL in a simulated run: a statement that waits for a lock lets the other processes run.

PostgreSQL's own processes run beside the simulation. For a run to repeat exactly, they may run only while
the simulation waits for them: after each statement, the simulation waits until every statement that it may
have unblocked has ended or waits for its next lock.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import psycopg
from psycopg import waiting

from proxies.tests.simulation import present
from proxies.tests.simulation.scheduler import Fiber, NoRest, World

OPTIONS = "-c jit=off -c deadlock_timeout=1ms -c max_parallel_workers_per_gather=0"
"""Connection options. A deadlock is detected before the statement that closes it lets others run."""

PATIENCE = 0.02
"""Seconds after which a statement is assumed to wait for a lock: long enough for PostgreSQL to have checked
for a deadlock by then, even on a busy machine."""
LONGEST_WAIT = 60.0
"""Seconds after which a statement that waits for no lock has failed."""

_EVENTS = {
    waiting.Wait.R: select.POLLIN,
    waiting.Wait.W: select.POLLOUT,
    waiting.Wait.RW: select.POLLIN | select.POLLOUT,
}
_wait, _close = waiting.wait, psycopg.Connection.close
_monotonic = time.monotonic


@dataclass(eq=False)
class _Waiter:
    """A statement that waits for a lock."""

    connection: psycopg.Connection[Any]
    has_ended: bool = False


class Locks:
    """The statements that wait for locks, watched over a connection of the simulation's own.

    That connection uses another database, so that its snapshots keep no old row of the run's database alive.
    """

    def __init__(self, admin: psycopg.Connection[Any]) -> None:
        self._admin = admin
        self._waiters: list[_Waiter] = []

    def drive(self, generator: Any, connection: psycopg.Connection[Any], world: World, fiber: Fiber) -> Any:
        """Consume a psycopg generator; while its statement waits for a lock, let others run."""
        try:
            wanted = next(generator)
            until = _monotonic() + LONGEST_WAIT
            while True:
                if ready := _poll(connection, wanted, PATIENCE):
                    wanted = generator.send(ready)
                elif self._waits_for_others(connection.pgconn.backend_pid):
                    self._let_others_run(connection, world, fiber)
                    until = _monotonic() + LONGEST_WAIT
                else:
                    _check(until)
        except StopIteration as ended:
            return ended.value
        finally:
            self.settle()

    def close(self, connection: psycopg.Connection[Any]) -> None:
        """Close a connection, and wait until its backend has released its locks."""
        if connection.closed:
            return
        backend = connection.pgconn.backend_pid
        is_idle = connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE
        self._waiters = [each for each in self._waiters if each.connection is not connection]
        _close(connection)
        if not is_idle:
            self._end_backend(backend)
            self.settle()

    def settle(self) -> None:
        """Wait until each statement that waited for a lock has ended, or waits for a lock again."""
        has_changed = True
        while has_changed:
            has_changed = False
            for waiter in self._waiters:
                # A statement that has ended may have released another, which was checked before it.
                has_changed |= not waiter.has_ended and self._settle_one(waiter)

    def _settle_one(self, waiter: _Waiter) -> bool:
        """Return whether the statement has ended."""
        backend = waiter.connection.pgconn.backend_pid
        until = _monotonic() + LONGEST_WAIT
        # The socket is no evidence: an error is sent before the transaction's locks are released.
        while self._is_active(backend):
            if self._blocking(backend):
                return False
            _check(until)
        waiter.has_ended = True
        return True

    def _let_others_run(self, connection: psycopg.Connection[Any], world: World, fiber: Fiber) -> None:
        waiter = _Waiter(connection)
        self._waiters.append(waiter)
        world.note("locked")
        process = fiber.process
        try:
            # A signal is delivered to a waiting process; its main thread then wakes.
            world.block(lambda: waiter.has_ended or bool(process.signals and fiber is process.fibers[0]))
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _waits_for_others(self, backend: int) -> bool:
        """Return whether a backend waits for a lock, unless in a deadlock, which PostgreSQL breaks."""
        reached: set[int] = set()
        ahead = self._blocking(backend)
        while new := ahead - reached:
            reached |= new
            ahead = {other for each in new for other in self._blocking(each)}
        if not reached or backend in reached:
            return False
        # A deadlock may have been broken during the check; the statements it blocked then run until settled.
        self.settle()
        return bool(self._blocking(backend))

    def _is_active(self, backend: int) -> bool:
        query = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND state = 'active'"
        return self._admin.execute(query, (backend,)).fetchone() is not None

    def _blocking(self, backend: int) -> set[int]:
        row = self._admin.execute("SELECT pg_blocking_pids(%s)", (backend,)).fetchone()
        assert row is not None
        return set(row[0])

    def _end_backend(self, backend: int) -> None:
        self._admin.execute("SELECT pg_terminate_backend(%s)", (backend,))
        until = _monotonic() + LONGEST_WAIT
        while self._admin.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (backend,)).fetchone():
            _check(until)


def _poll(connection: psycopg.Connection[Any], wanted: waiting.Wait, seconds: float) -> waiting.Ready:
    """Return which of the wanted events the socket is ready for, within ``seconds``."""
    poll = select.poll()
    poll.register(connection.pgconn.socket, _EVENTS[wanted])
    events = poll.poll(seconds * 1000)
    if not events:
        return waiting.Ready.NONE
    found = events[0][1]
    broken = found & (select.POLLERR | select.POLLHUP | select.POLLNVAL)
    may_read = bool(found & select.POLLIN or (broken and wanted & waiting.Wait.R))
    may_write = bool(found & select.POLLOUT or (broken and wanted & waiting.Wait.W))
    return waiting.Ready(waiting.Ready.R * may_read | waiting.Ready.W * may_write)


def _check(until: float) -> None:
    if _monotonic() > until:
        raise NoRest(f"PostgreSQL did not answer in {LONGEST_WAIT:.0f} s.")


_locks: list[Locks] = []


@contextmanager
def watch_locks(admin_url: str) -> Iterator[None]:
    """Have the runs of this process find waiting statements over a connection to ``admin_url``."""
    with psycopg.connect(admin_url, autocommit=True) as admin:
        _locks[:] = [Locks(admin)]
        try:
            yield
        finally:
            _locks.clear()


def install(patches: ExitStack) -> None:
    """Have PostgreSQL connections wait at scheduling points, where the run uses PostgreSQL."""
    if not _locks:
        return
    locks = _locks[0]

    def wait(generator: Any, fileno: int, interval: float = 0.0, timeout: float | None = None) -> Any:
        fiber = present.fiber()
        connection = _connection_of(fiber, fileno) if fiber is not None else None
        # With a timeout, psycopg waits for a statement that it has cancelled.
        if fiber is None or connection is None or timeout is not None:
            return _wait(generator, fileno, interval, timeout)
        return locks.drive(generator, connection, present.get(), fiber)

    def close(connection: psycopg.Connection[Any]) -> None:
        locks.close(connection)

    patches.enter_context(mock.patch.object(waiting, "wait", wait))
    patches.enter_context(mock.patch.object(psycopg.Connection, "close", close))


def _connection_of(fiber: Fiber, fileno: int) -> psycopg.Connection[Any] | None:
    """Return a thread's open connection with that socket; None while Django sets it up."""
    for wrapper in fiber.connections.values():
        connection: psycopg.Connection[Any] | None = wrapper.connection
        if connection is not None and not connection.closed and connection.pgconn.socket == fileno:
            return connection
    return None

"""The simulation on PostgreSQL: locks between simulated processes, and reproducible runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from novaproxy_site.tests.servers import PostgresServer
from proxies.tests.simulation import postgres, present
from proxies.tests.simulation.scheduler import Fiber, Machine, Process, World
from proxies.tests.test_simulation import simulate

pytestmark = pytest.mark.postgres

FIRST, COUNT = 18, 20
WITH_LOCKS = 29
"""A seed whose statements wait for other processes' locks, but never two at a time, because PostgreSQL
decides which of two gets a lock first."""


class Contenders:
    """Simulated processes, each with a connection to a table of two accounts that hold 0."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.world = World(1)
        self.world.drop_connections = _close
        self.machine = Machine("here", 1, 1)
        self.errors: list[str] = []
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE account (id int PRIMARY KEY, total int)")
            connection.execute("INSERT INTO account VALUES (1, 0), (2, 0)")

    def spawn(self, name: str, program: Callable[[psycopg.Connection[Any]], None]) -> Process:
        def run() -> None:
            connection = psycopg.connect(self.url, options=postgres.OPTIONS)
            assert self.world.current is not None
            self.world.current.connections["default"] = SimpleNamespace(connection=connection)
            try:
                program(connection)
                connection.commit()
            except psycopg.Error as error:
                self.errors.append(type(error).__name__)
                connection.rollback()

        return self.world.spawn(name, self.machine, run)

    def run(self) -> None:
        self.world.run(lambda: not any(process.alive for process in self.world.processes))

    def count_locked(self) -> int:
        return sum(kind == "locked" for _, kind, _ in self.world.trace)

    def totals(self) -> list[int]:
        with psycopg.connect(self.url) as connection:
            return [total for (total,) in connection.execute("SELECT total FROM account ORDER BY id")]


def _close(fiber: Fiber) -> None:
    for wrapper in fiber.connections.values():
        wrapper.connection.close()


def add(connection: psycopg.Connection[Any], account: int, amount: int = 1) -> None:
    connection.execute("UPDATE account SET total = total + %s WHERE id = %s", (amount, account))


@pytest.fixture
def contenders(postgres_server: PostgresServer) -> Iterator[Contenders]:
    url = postgres_server.url(postgres_server.make_database())
    with postgres.watch_locks(postgres_server.url("postgres")), ExitStack() as patches:
        made = Contenders(url)
        postgres.install(patches)
        present.enter(made.world)
        try:
            yield made
        finally:
            present.leave()


def test_a_statement_that_waits_for_a_lock_lets_its_holder_run(contenders: Contenders) -> None:
    holds: list[str] = []

    def hold(connection: psycopg.Connection[Any]) -> None:
        add(connection, 1)
        holds.append("row")
        contenders.world.block(lambda: contenders.count_locked() == 2)

    def wait(connection: psycopg.Connection[Any]) -> None:
        contenders.world.block(lambda: bool(holds))
        add(connection, 1)

    contenders.spawn("holder", hold)
    contenders.spawn("waiter", wait)
    contenders.spawn("other", wait)
    contenders.run()
    assert contenders.totals() == [3, 0]
    assert contenders.errors == []


def test_a_deadlock_is_an_error_of_the_statement_that_closes_it(contenders: Contenders) -> None:
    holds: list[str] = []

    def transfer(source: int, target: int) -> Callable[[psycopg.Connection[Any]], None]:
        def program(connection: psycopg.Connection[Any]) -> None:
            add(connection, source, -1)
            holds.append("row")
            contenders.world.block(lambda: len(holds) == 2)
            add(connection, target, 1)

        return program

    contenders.spawn("there", transfer(1, 2))
    contenders.spawn("back", transfer(2, 1))
    contenders.run()
    assert contenders.errors == ["DeadlockDetected"]
    assert sorted(contenders.totals()) == [-1, 1]
    assert contenders.count_locked() == 1


@pytest.mark.parametrize("waits", [False, True])
def test_a_killed_process_releases_its_locks(contenders: Contenders, waits: bool) -> None:
    """Also if it is killed while it waits for a lock itself."""
    world, holds = contenders.world, list[str]()

    def hold(connection: psycopg.Connection[Any]) -> None:
        add(connection, 1, 100)
        holds.append("first row")
        world.block(lambda: not victim.alive)

    def fall(connection: psycopg.Connection[Any]) -> None:
        world.block(lambda: bool(holds))
        add(connection, 2, 10)
        holds.append("second row")
        if waits:
            add(connection, 1, 10)
        world.sleep(1000)

    def follow(connection: psycopg.Connection[Any]) -> None:
        world.block(lambda: len(holds) == 2)
        add(connection, 2)

    def end() -> None:
        world.block(lambda: contenders.count_locked() == (2 if waits else 1))
        world.kill(victim)

    contenders.spawn("holder", hold)
    victim = contenders.spawn("victim", fall)
    contenders.spawn("follower", follow)
    world.spawn("killer", contenders.machine, end)
    contenders.run()
    assert contenders.totals() == [100, 1]
    assert contenders.errors == []


def test_runs_pass_and_repeat(postgres_server: PostgresServer) -> None:
    """A run takes the same path alone in its process as after others."""
    url = postgres_server.url("postgres")
    shown = simulate(str(FIRST), str(COUNT), "--digest", "--postgres", url)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    digests = dict(re.findall(r"^seed (\d+): ([0-9a-f]{16})$", shown.stdout, re.MULTILINE))
    assert len(digests) == COUNT
    replayed = simulate(str(WITH_LOCKS), "--digest", "--postgres", url).stdout
    assert f"seed {WITH_LOCKS}: {digests[str(WITH_LOCKS)]}\n" in replayed
    assert " locked " in replayed

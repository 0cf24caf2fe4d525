"""Fixtures for the tests of all apps: real servers, and whole installations to drive from outside.

A test whose program is not installed is skipped with the reason; with NOVAPROXY_TEST_REQUIRE=all, which CI
sets, it fails instead.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
import redis

from novaproxy_site.tests.environment import only_this_machine
from novaproxy_site.tests.installation import Installation
from novaproxy_site.tests.relay import Relay, relay_to
from novaproxy_site.tests.servers import (
    PostgresServer,
    RedisServer,
    S3Bucket,
    S3Server,
    ServerMissing,
    find_chromium,
    run_postgres,
    run_redis,
    run_s3,
)

T = TypeVar("T")

# The backends of an installation: the database, plus the broker if it is not the database.
SQLITE = "sqlite"
POSTGRES = pytest.param("postgres", marks=pytest.mark.postgres)
POSTGRES_REDIS = pytest.param("postgres+redis", marks=[pytest.mark.postgres, pytest.mark.redis])
REDIS_DATABASES = 16


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks that this file implements."""
    config.addinivalue_line("markers", "every_backend: runs on SQLite, PostgreSQL, and PostgreSQL with Redis")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test marked ``every_backend`` once on each backend."""
    if metafunc.definition.get_closest_marker("every_backend"):
        metafunc.parametrize("installation", [SQLITE, POSTGRES, POSTGRES_REDIS], indirect=True)


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    with only_this_machine():
        yield


def missing(reason: object) -> None:
    """Skip the test because something is missing, or fail it if NOVAPROXY_TEST_REQUIRE is ``all``."""
    if os.environ.get("NOVAPROXY_TEST_REQUIRE") == "all":
        pytest.fail(f"{reason}, and NOVAPROXY_TEST_REQUIRE=all", pytrace=False)
    pytest.skip(str(reason))


@contextmanager
def server_folder() -> Iterator[Path]:
    """Yield a folder outside pytest's, which other users cannot enter: PostgreSQL runs as another user."""
    with tempfile.TemporaryDirectory(prefix="novaproxy-server-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _served(run: Callable[[Path], AbstractContextManager[T]]) -> Iterator[T]:
    with ExitStack() as stack:
        try:
            server = stack.enter_context(run(stack.enter_context(server_folder())))
        except ServerMissing as error:
            missing(error)
        yield server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """Run a real S3 server."""
    yield from _served(run_s3)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Run a real Redis server."""
    yield from _served(run_redis)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Run a real PostgreSQL server."""
    yield from _served(run_postgres)


@pytest.fixture
def bucket(s3_server: S3Server) -> S3Bucket:
    """Create an empty bucket for one test."""
    return s3_server.make_bucket()


@pytest.fixture
def relay(s3_server: S3Server) -> Iterator[Relay]:
    """Run a relay between the code under test and the S3 server that counts, delays and breaks requests."""
    with relay_to(s3_server.endpoint) as relay:
        yield relay


@pytest.fixture
def relayed_bucket(bucket: S3Bucket, relay: Relay) -> S3Bucket:
    """Return the bucket of the fixture ``bucket``, reached through ``relay``."""
    return replace(bucket, server=replace(bucket.server, endpoint=relay.endpoint))


@pytest.fixture(scope="session")
def chromium() -> Path:
    """Return the path of Chromium, for browser tests."""
    try:
        return find_chromium()
    except ServerMissing as error:
        missing(error)
        raise


class Installer:
    """Makes installations by copying databases that are migrated only once."""

    def __init__(self, folder: Path, server: Callable[[str], object]) -> None:
        self._folder = folder
        self._server = server
        self._sqlite: Path | None = None
        self._postgres: str = ""
        self._count = 0

    def make(self, backend: str, **environment: str) -> Installation:
        """Return a migrated installation on `backend`, for example ``postgres+redis``."""
        self._count += 1
        folder = self._folder / f"installation-{self._count}"
        folder.mkdir()
        database, _, broker = backend.partition("+")
        if database == "postgres":
            environment["DATABASE_URL"] = self._make_postgres()
        else:
            shutil.copyfile(self._migrated_sqlite(), folder / "novaproxy.sqlite3")
        if broker == "redis":
            environment["NOVAPROXY_BROKER"] = self._empty_redis()
        return Installation(folder, **environment)

    def _empty_redis(self) -> str:
        server = self._server("redis_server")
        assert isinstance(server, RedisServer)
        url = server.url(self._count % REDIS_DATABASES)
        with redis.Redis.from_url(url) as client:
            client.flushdb()
        return url

    def _migrated_sqlite(self) -> Path:
        if not self._sqlite:
            template = Installation(self._folder / "template")
            template.folder.mkdir()
            template.manage("migrate", "--verbosity=0")
            # Closing the last connection has moved the write-ahead log into the file.
            self._sqlite = template.folder / "novaproxy.sqlite3"
        return self._sqlite

    def _make_postgres(self) -> str:
        server = self._server("postgres_server")
        assert isinstance(server, PostgresServer)
        if not self._postgres:
            template = server.make_database()
            folder = self._folder / "postgres-template"
            folder.mkdir()
            Installation(folder, DATABASE_URL=server.url(template)).manage("migrate", "--verbosity=0")
            self._postgres = template
        return server.url(server.make_database(self._postgres))


@pytest.fixture(scope="session")
def installer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Installer:
    """Return the session's installer; tests use ``install`` or ``installation``, which clean up."""
    return Installer(tmp_path_factory.mktemp("installations"), request.getfixturevalue)


@pytest.fixture
def install(installer: Installer) -> Iterator[Callable[..., Installation]]:
    """Yield a function that makes installations: ``install("postgres+redis", NOVAPROXY_TARGET="400")``."""
    with ExitStack() as stack:

        def make(backend: str = SQLITE, **environment: str) -> Installation:
            installation = installer.make(backend, **environment)
            stack.callback(installation.close)
            return installation

        yield make


@pytest.fixture
def installation(request: pytest.FixtureRequest, install: Callable[..., Installation]) -> Installation:
    """Return a migrated installation on SQLite, or on each backend for tests marked ``every_backend``."""
    return install(getattr(request, "param", SQLITE))

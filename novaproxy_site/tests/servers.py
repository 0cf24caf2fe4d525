"""Real servers for tests: S3 (seaweedfs), Redis and PostgreSQL, private to a test process, on free ports.

They share nothing with other test processes or with servers that the machine already runs, so tests can run
in parallel under pytest-xdist. A server dies with the process that started it.
"""

from __future__ import annotations

import functools
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import psycopg
from psycopg import sql

START_SECONDS = 60
STOP_SECONDS = 20


class ServerMissing(Exception):
    """A program that a test needs is not installed. The message names it."""


class ServerFailed(Exception):
    """A server exited or did not respond in time. The message contains its last output."""


# -- Finding programs --------------------------------------------------------------------------


def find_program(*names: str, folders: Sequence[Path] = ()) -> Path:
    """Return the first of `names` found in `folders` or on PATH. Raises ServerMissing."""
    for name in names:
        for folder in folders:
            if (folder / name).is_file():
                return folder / name
        if found := shutil.which(name):
            return Path(found)
    raise ServerMissing(f"{' or '.join(names)} is not installed")


def find_chromium() -> Path:
    """Return Chromium or Chrome. Raises ServerMissing."""
    return find_program("chromium", "chromium-browser", "google-chrome")


def find_postgres(name: str) -> Path:
    """Return one of PostgreSQL's programs, which Debian keeps off PATH. Raises ServerMissing."""
    newest_first = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True
    )
    return find_program(name, folders=newest_first)


def free_ports(count: int) -> list[int]:
    """Return unused ports of 127.0.0.1, below 50,000 so that `weed` can add 10,000."""
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            port = 20_000 + secrets.randbelow(30_000)
            listener = held.enter_context(socket.socket())
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
        return ports


# -- Running them ------------------------------------------------------------------------------


def dying_with_parent() -> list[str]:
    """Return a command prefix that makes Linux kill the command when this process dies.

    A preexec_fn would do the same, but Python warns about it in threaded processes, such as under xdist.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


@contextmanager
def running(
    command: Sequence[str | Path],
    *,
    log: Path,
    ready: Callable[[], bool],
    stop_signal: signal.Signals = signal.SIGTERM,
    user: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server, wait until `ready()`, and stop it after the block; its output goes to `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*dying_with_parent(), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment) if environment is not None else None,
            user=user,
            extra_groups=[] if user else None,
        )
    try:
        _wait_until(ready, process, log)
        yield process
    finally:
        process.send_signal(stop_signal)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            state = "does not answer" if process.returncode is None else f"exited with {process.returncode}"
            raise ServerFailed(f"{process.args!r} {state}: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def answers(port: int, request: bytes = b"", expected: bytes = b"") -> bool:
    """Return whether 127.0.0.1:`port` accepts connections and answers `request` with `expected`."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            if not request:
                return True
            connection.sendall(request)
            return expected in connection.recv(200)
    except OSError:
        return False


# -- S3 ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running S3 server and credentials with full access."""

    endpoint: str
    access_key: str = "test-access-key"
    secret_key: str = "test-secret-key"
    region: str = "us-east-1"

    @property
    def credentials(self) -> dict[str, str]:
        """Return environment variables that let boto3 use this server."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
        }

    def make_bucket(self, name: str = "") -> S3Bucket:
        """Create a bucket, by default with a unique name."""
        bucket = S3Bucket(self, name or f"bucket-{secrets.token_hex(6)}")
        bucket.client().create_bucket(Bucket=bucket.name)
        return bucket


@dataclass(frozen=True, slots=True)
class S3Bucket:
    """A bucket on a running server."""

    server: S3Server
    name: str

    def client(self):
        """Return a boto3 client that bypasses our code."""
        return _client(self.server)

    def keys(self, prefix: str = "") -> list[str]:
        """Return the keys in the bucket, sorted."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return sorted(entry["Key"] for page in pages for entry in page.get("Contents", ()))

    def options(self, prefix: str = "") -> dict[str, str]:
        """Return OPTIONS for a BucketStorage on this bucket."""
        return {
            "bucket_name": self.name,
            "location": prefix,
            "region_name": self.server.region,
            "endpoint_url": self.server.endpoint,
            "access_key": self.server.access_key,
            "secret_key": self.server.secret_key,
        }

    def amazon_options(self, prefix: str = "") -> dict[str, object]:
        """Return OPTIONS that make the storage treat this bucket as one on Amazon S3.

        The server must be a relay, which is used as an HTTP proxy.
        """
        amazon = f"http://s3.{self.server.region}.amazonaws.com"
        return self.options(prefix) | {"endpoint_url": amazon, "proxies": {"http": self.server.endpoint}}

    def environment(self, alias: str, prefix: str = "") -> dict[str, str]:
        """Return variables that put the storage `alias` (originals, proxies) into this bucket."""
        name = f"NOVAPROXY_{alias.upper()}"
        return self.server.credentials | {
            f"{name}_BUCKET": self.name,
            f"{name}_PREFIX": prefix,
            f"{name}_REGION": self.server.region,
            f"{name}_ENDPOINT": self.server.endpoint,
        }


@functools.cache
def _client(server: S3Server):
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name=server.region,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
    )


@contextmanager
def run_s3(folder: Path) -> Iterator[S3Server]:
    """Run seaweedfs with its files in `folder`; it takes about 2 s to start and 0.5 GB of memory."""
    weed = find_program("weed", folders=[Path(sysconfig.get_path("scripts"))])
    s3, s3_grpc, master, master_grpc, volume, volume_grpc = free_ports(6)
    filer, filer_grpc, metrics, admin, admin_grpc = free_ports(5)
    server = S3Server(f"http://127.0.0.1:{s3}")
    identity = {
        "name": "admin",
        "credentials": [{"accessKey": server.access_key, "secretKey": server.secret_key}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    data = folder / "data"
    data.mkdir()
    command: list[str | Path] = [
        *(weed, "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-s3.port={s3}", f"-s3.port.grpc={s3_grpc}", f"-s3.config={config}"),
        *(f"-s3.localSocket={folder}/s3.sock", f"-filer.localSocket={folder}/filer.sock"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false"),
        "-s3.allowDeleteBucketNotEmpty=false",
        *(f"-master.port={master}", f"-master.port.grpc={master_grpc}", "-master.telemetry=false"),
        # Each bucket takes a volume, and by default there is only one for each free GB of disk space.
        *(f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}", "-volume.max=10000"),
        *(f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}"),
        *(f"-admin.port={admin}", f"-admin.port.grpc={admin_grpc}", "-admin.ui=false"),
        *(f"-metricsPort={metrics}", "-webdav=false"),
    ]

    def ready() -> bool:
        # The port opens before the server can create a bucket.
        return answers(s3, b"GET / HTTP/1.0\r\n\r\n", b"403") and answers(filer)

    # weed writes to its working directory and to HOME unless configured otherwise.
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder)}
    with running(
        command,
        log=folder / "weed.log",
        ready=ready,
        stop_signal=signal.SIGKILL,  # on TERM it would take 3 s to save data that is not needed
        environment=environment,
    ):
        yield server


# -- Redis -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A running Redis server without a password; tests use different database numbers."""

    port: int

    def url(self, database: int = 0) -> str:
        """Return the URL of one of the databases, 0 to 15."""
        return f"redis://127.0.0.1:{self.port}/{database}"


@contextmanager
def run_redis(folder: Path, port: int | None = None) -> Iterator[RedisServer]:
    """Run redis-server, in memory only, on a free port unless one is given."""
    port = port or free_ports(1)[0]
    command: list[str | Path] = [
        *(find_program("redis-server"), "--port", str(port), "--bind", "127.0.0.1"),
        *("--save", "", "--appendonly", "no", "--dir", str(folder)),
    ]
    with running(command, log=folder / "redis.log", ready=lambda: answers(port, b"PING\r\n", b"+PONG")):
        yield RedisServer(port)


# -- PostgreSQL --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running PostgreSQL server with one superuser, who needs no password."""

    port: int

    def url(self, database: str) -> str:
        """Return the DATABASE_URL of a database."""
        return f"postgres://novaproxy@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: sql.Composed) -> None:
        """Execute an administrative statement."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def make_database(self, template: str = "template1") -> str:
        """Create a database as a copy of `template` and return its name."""
        name = f"novaproxy_{secrets.token_hex(6)}"
        self.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
        return name


@contextmanager
def run_postgres(folder: Path) -> Iterator[PostgresServer]:
    """Run a private PostgreSQL cluster, without fsync because its data need not survive a power cut."""
    user = _postgres_user(folder)
    data = folder / "cluster"
    initdb: list[str | Path] = [
        find_postgres("initdb"),
        "-D",
        data,
        "-U",
        "novaproxy",
        "-A",
        "trust",
        "-N",
        "-E",
        "UTF8",
    ]
    made = subprocess.run(
        [*initdb, "--locale=C.UTF-8"], capture_output=True, text=True, user=user, cwd=folder, check=False
    )
    if made.returncode:
        raise ServerFailed(f"initdb exited with {made.returncode}: {made.stderr[-2000:]}")
    (port,) = free_ports(1)
    options = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
    }
    command: list[str | Path] = [
        find_postgres("postgres"),
        "-D",
        data,
        *(f"--{name}={value}" for name, value in options.items()),
    ]

    def ready() -> bool:
        try:
            psycopg.connect(f"postgres://novaproxy@127.0.0.1:{port}/postgres", connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    # INT is PostgreSQL's "fast" shutdown: it does not wait for clients to disconnect.
    with running(command, log=folder / "postgres.log", ready=ready, stop_signal=signal.SIGINT, user=user):
        yield PostgresServer(port)


def _postgres_user(folder: Path) -> str | None:
    """Return the user to run PostgreSQL as, after giving it `folder`: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    try:
        account = pwd.getpwnam("postgres")
    except KeyError as error:
        raise ServerMissing("there is no user 'postgres' to run PostgreSQL as") from error
    os.chown(folder, account.pw_uid, account.pw_gid)
    return account.pw_name

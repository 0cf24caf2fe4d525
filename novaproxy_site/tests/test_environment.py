"""What the tests rely on: no network access, nothing from the caller's environment, real servers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import boto3
import psycopg
import pytest
import redis

from novaproxy_site.tests.environment import ALWAYS, NetworkRefused, clean_environment
from novaproxy_site.tests.servers import ServerFailed, ServerMissing, find_program, running


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"], ids=["IPv4", "IPv6"])
def test_other_machines_cannot_be_reached(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as outside:
        with pytest.raises(NetworkRefused):
            outside.connect((host, 80))
        with pytest.raises(NetworkRefused):
            outside.connect_ex((host, 80))


@pytest.mark.parametrize("name", ["example.com", "bedrock-runtime.us-east-1.amazonaws.com"])
def test_names_of_other_machines_are_not_resolved(name):
    with pytest.raises(NetworkRefused, match=name):
        socket.create_connection((name, 80))


def test_this_machine_can_be_reached():
    with socket.create_server(("127.0.0.1", 0)) as server:
        for host in ("127.0.0.1", "localhost"):
            socket.create_connection((host, server.getsockname()[1])).close()


def test_nothing_of_the_callers_environment_reaches_tests():
    given = {
        "PATH": "/bin",
        "AWS_BEARER_TOKEN_BEDROCK": "secret",
        "AWS_PROFILE": "mine",
        "DATABASE_URL": "postgres://a-real-library",
        "NOVAPROXY_ORIGINALS_BUCKET": "a-real-bucket",
        "NOVAPROXY_TEST_REQUIRE": "all",
        "NOVAPROXY_CHAOS_ROUNDS": "25",
    }
    kept = {"PATH": "/bin", "NOVAPROXY_TEST_REQUIRE": "all", "NOVAPROXY_CHAOS_ROUNDS": "25"}
    assert clean_environment(given) == kept | ALWAYS


def test_boto3_finds_no_credentials():
    assert boto3.Session().get_credentials() is None


@pytest.mark.s3
def test_the_s3_server_stores_objects(bucket):
    bucket.client().put_object(Bucket=bucket.name, Key="a/b", Body=b"abc")
    assert bucket.keys() == ["a/b"]
    assert bucket.client().get_object(Bucket=bucket.name, Key="a/b")["Body"].read() == b"abc"


@pytest.mark.redis
def test_the_redis_server_answers(redis_server):
    with redis.Redis.from_url(redis_server.url(3)) as client:
        client.set("a", "b")
        assert client.get("a") == b"b"


@pytest.mark.postgres
def test_the_postgres_server_creates_databases(postgres_server):
    with psycopg.connect(postgres_server.url(postgres_server.make_database())) as connection:
        assert connection.execute("SELECT 6 * 7").fetchone() == (42,)


@pytest.mark.every_backend
def test_an_installation_is_migrated_and_isolated(installation):
    vendor = {"sqlite": "sqlite", "postgres": "postgresql"}[
        installation.environment["DATABASE_URL"].split(":")[0]
    ]
    assert installation.shell("from django.db import connection; print(connection.vendor)") == f"{vendor}\n"
    assert (
        installation.shell("from media_files.models import MediaFile; print(MediaFile.objects.count())")
        == "0\n"
    )
    assert str(installation.folder) in installation.shell(
        "from django.conf import settings; print(settings.DATA_DIR)"
    )


def test_a_failing_source_fails_the_test(installation):
    with pytest.raises(AssertionError, match=r"before[\s\S]*ZeroDivisionError"):
        installation.shell("print('before'); 1 / 0")
    assert installation.shell("print('after')") == "after\n"


def test_a_failing_command_fails_the_test(installation):
    with pytest.raises(AssertionError, match="no-such-command"):
        installation.manage("no-such-command")
    assert installation.manage("no-such-command", check=False).returncode == 1


def test_closing_an_installation_leaves_no_process(installation):
    started = installation.popen(
        "shell", "--no-imports", "-c", "import time; print('ready', flush=True); time.sleep(60)"
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    assert [process.pid for process in installation.processes()] == [started.pid]
    installation.close()
    assert installation.processes() == []


def test_a_server_dies_with_its_test_process(tmp_path):
    """Even if pytest is killed and cannot stop it."""
    source = f"""
import os, pathlib, sys, time
from novaproxy_site.tests.servers import running
log = pathlib.Path({str(tmp_path)!r}, "log")
# Not before it speaks is it one that will die with its parent.
command = ["sh", "-c", "echo up; exec sleep 60"]
with running(command, log=log, ready=lambda: "up" in log.read_text()) as server:
    print(server.pid, flush=True)
    time.sleep(60)
"""
    tests = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    assert tests.stdout is not None
    with tests.stdout:
        server = int(tests.stdout.readline())
    os.kill(server, 0)
    tests.kill()
    tests.wait()
    import psutil

    try:
        psutil.Process(server).wait(5)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired:
        assert psutil.Process(server).status() == psutil.STATUS_ZOMBIE


def test_a_server_that_does_not_start_reports_why(tmp_path):
    with (
        pytest.raises(ServerFailed, match="exited with 3: no room"),
        running(["sh", "-c", "echo no room; exit 3"], log=tmp_path / "log", ready=lambda: False),
    ):
        pass


def test_a_missing_program_is_named():
    with pytest.raises(ServerMissing, match="no-such-program or neither-this is not installed"):
        find_program("no-such-program", "neither-this")

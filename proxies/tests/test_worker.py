"""Kill every process of a worker: nothing is left behind, and the queue is still processed."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psutil
import pytest
from django.core.management import CommandError, call_command

from novaproxy_site.tests.installation import Installation
from proxies.queue.supervisor import GRACE, TICK, State
from proxies.queue.supervisor_report import LAST_WORD
from proxies.tests.driving import OTHER_PROCESSES, SOON, RunningWorker, assert_gone

# honcho kills a process that has not stopped 5 s after TERM.
HONCHO_WAITS = 5.0
# More than an idle cluster needs to stop, on any machine.
LONG_GRACE = 15.0


@pytest.fixture(scope="module")
def library(installer) -> Iterator[Any]:
    """One installation for the tests of this file: each test starts its own worker."""
    installation = installer.make("sqlite")
    yield installation
    installation.close()


@pytest.fixture
def start(library) -> Iterator[Callable[..., RunningWorker]]:
    """Yield a function that starts workers; kill them after the test."""
    started: list[RunningWorker] = []

    def start_worker(*arguments: str, installation: Any = library, workers: int = 2) -> RunningWorker:
        # A short grace period, so that a cluster which can no longer stop by itself is soon replaced.
        arguments = arguments or ("--grace", "1")
        started.append(RunningWorker(installation, *arguments, workers=workers))
        return started[-1]

    yield start_worker
    for worker in started:
        worker.close()
    library.shell("from django_q.models import OrmQ; OrmQ.objects.all().delete()")


def pids_of(parts: dict[str, psutil.Process]) -> list[int]:
    return [process.pid for process in parts.values()]


def assert_replaced(worker: RunningWorker, old: dict[str, psutil.Process]) -> None:
    """Assert that the old cluster is gone, a new one works, and the supervisor has reported it."""
    worker.wait_for(lambda: "Restarting in" in worker.read_output(), what="the supervisor to notice")
    assert_gone(pids_of(old), seconds=5)
    assert len(worker.parts()) == worker.workers + OTHER_PROCESSES
    worker.assert_works()
    assert worker.supervisor.poll() is None
    assert worker.read_output().count("Restarting in") == 1


# -- Killed from outside -----------------------------------------------------------------------


@pytest.mark.parametrize("part", ["main", "sentinel", "worker 0", "worker 1", "monitor", "pusher"])
def test_a_part_that_is_killed(start, part):
    """Of the two idle workers, one holds the lock that the other waits for."""
    worker = start()
    parts = worker.parts()
    parts[part].kill()
    assert_replaced(worker, parts)


def test_a_busy_worker_that_is_killed(start):
    worker = start()
    parts = worker.parts()
    worker.keep_busy().kill()
    assert_replaced(worker, parts)
    worker.wait_for(lambda: worker.row().get("restarts") == 1, what="the row to tell of it")
    row = worker.row()
    assert "SIGKILL" in row["message"]
    assert row["state"] == State.RUNNING
    assert row["host"] == socket.gethostname()
    assert row["cluster_pid"] == worker.parts()["main"].pid != parts["main"].pid
    assert row["processes"] == 2


def test_the_supervisor_that_is_killed(start):
    """On Linux the kernel ends the cluster with it, even a worker in the middle of a task."""
    first = start()
    parts = first.parts()
    first.keep_busy()
    first.supervisor.kill()
    first.supervisor.wait()
    assert_gone(pids_of(parts))
    second = start()
    second.assert_works()
    second.wait_for(second.row, what="the row")
    assert first.row() == {}, "the dead supervisor's row is left"
    assert len(list(second.installation.folder.glob("workers/*"))) == 1, (
        "the dead supervisor's folder is left"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_clusters_own_group(start, number):
    """The supervisor cannot prevent this signal. A bare qcluster would hang forever."""
    worker = start()
    parts = worker.parts()
    os.killpg(parts["main"].pid, number)
    assert_replaced(worker, parts)


def test_a_cluster_that_stops_unasked(start):
    """A clean end with exit code 0 is still a failure."""
    worker = start()
    parts = worker.parts()
    parts["main"].terminate()
    assert_replaced(worker, parts)
    assert "exit code 0 without a request to stop" in worker.read_output()


# Longer than a cluster takes from its sentinel's start to its first result, even on a busy machine.
STALLED_AFTER = "6"


def test_a_cluster_that_hangs(start):
    """There is work and no process has died, yet nothing gets done."""
    worker = start("--stalled-after", STALLED_AFTER, "--grace", "1")
    parts = worker.parts()
    for number in range(worker.workers):
        parts[f"worker {number}"].suspend()
    task = worker.put("pass")
    worker.wait_for(lambda: "has finished none of them" in worker.read_output(), what="the stall")
    assert_replaced(worker, parts)
    assert "did not stop in time (1 s" in worker.read_output()
    # The broker redelivers what the dead cluster had taken, but only after `retry` seconds.
    assert not worker.is_done(task)


def test_a_pusher_that_hangs(start):
    """The tasks stay in the broker, whose length the supervisor reads."""
    worker = start("--stalled-after", STALLED_AFTER, "--grace", "1")
    parts = worker.parts()
    parts["pusher"].suspend()
    task = worker.put("pass")
    assert_replaced(worker, parts)
    worker.wait_for(lambda: worker.is_done(task), what="the task that lay in the broker")


# -- Stopped -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "group", "busy"),
    [
        pytest.param(signal.SIGTERM, False, False, id="TERM"),
        pytest.param(signal.SIGTERM, False, True, id="TERM-busy"),
        pytest.param(signal.SIGTERM, True, False, id="TERM-to-the-group"),
        pytest.param(signal.SIGTERM, True, True, id="TERM-to-the-group-busy"),
        pytest.param(signal.SIGINT, True, False, id="INT-to-the-group"),
    ],
)
def test_a_stop(start, number, group, busy):
    worker = start("--grace", str(GRACE if busy else LONG_GRACE))
    parts = worker.parts()
    if busy:
        worker.keep_busy()
    assert worker.stop(number, group=group) < SOON
    assert worker.supervisor.returncode == 0
    assert_gone(pids_of(parts), seconds=5)
    assert worker.processes() == []
    assert ("were killed" in worker.read_output()) is busy
    assert not list(worker.installation.folder.glob("workers/*"))
    assert worker.row()["state"] == State.STOPPED


def test_honcho_does_not_kill_a_busy_worker():
    assert GRACE + TICK + LAST_WORD < HONCHO_WAITS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_other_stop_signals(start, number):
    worker = start()
    worker.parts()
    assert worker.stop(number) < SOON
    assert worker.supervisor.returncode == 0
    assert worker.processes() == []


def test_a_stop_while_the_cluster_starts(start):
    worker = start()
    worker.wait_for(worker.processes, what="the cluster's first process")
    assert worker.stop() < SOON
    assert worker.supervisor.returncode == 0
    assert worker.processes() == []


def test_a_task_may_end_early_when_a_stop_is_asked(start):
    """Its work is then recorded, and the stop does not wait for the whole tick."""
    worker = start("--grace", str(LONG_GRACE))
    worker.parts()
    task = worker.put(
        "import time; from proxies.processes import control_dir\n"
        "while not control_dir.stop_is_asked(): time.sleep(0.01)"
    )
    (taken,) = worker.installation.folder.glob("workers/*/taken")
    worker.wait_for(lambda: taken.stat().st_size, what="the task to be taken")
    assert worker.stop() < SOON
    assert "were killed" not in worker.read_output()
    assert worker.is_done(task)


# -- Without its database, and on others -------------------------------------------------------


def test_a_worker_survives_without_its_database(start, tmp_path):
    """Here the database has no tables yet, as during an installation."""
    (tmp_path / "novaproxy.sqlite3").touch()
    with closing(Installation(tmp_path)) as installation:
        worker = start(installation=installation)
        worker.wait_for(lambda: "does not answer" in worker.read_output(), what="it to notice")
        assert worker.supervisor.poll() is None
        installation.manage("migrate", "--verbosity=0")
        worker.wait_for(lambda: "database answers again" in worker.read_output(), what="it to notice")
        worker.wait_for(lambda: worker.row().get("state") == State.RUNNING, what="the row")
        assert worker.stop() < SOON
        assert worker.read_output().count("The database does not answer") == 1


def test_a_database_that_does_not_exist(start, install):
    installation = install()
    installation.environment["DATABASE_URL"] = "postgres://nobody@127.0.0.1:1/none"
    worker = start(installation=installation)
    worker.wait_for(lambda: "does not answer" in worker.read_output(), what="it to notice")
    assert worker.supervisor.poll() is None
    assert worker.stop() < SOON
    assert worker.processes() == []


@pytest.mark.every_backend
def test_every_backend(start, installation):
    worker = start(installation=installation, workers=1)
    worker.parts()
    worker.assert_works()
    worker.wait_for(lambda: worker.row().get("state") == State.RUNNING, what="the row")
    assert worker.stop() < SOON
    assert worker.processes() == []


# -- The command -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [["--workers", "0"], ["--stalled-after", "0"], ["--grace", "-1"], ["--cluster"]],
    ids=lambda words: words[0],
)
def test_bad_usage(arguments):
    with pytest.raises(CommandError) as raised:
        call_command("worker", *arguments)
    assert raised.value.returncode == 2

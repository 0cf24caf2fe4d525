"""The worker, killed in every part of it: afterwards nothing is left behind, and the queue is worked off."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from django.core.management import CommandError, call_command

from proxies.pulse import VARIABLE, Pulse, stop_is_asked
from proxies.tests.driving import OTHER_PROCESSES, RunningWorker
from proxies.worker import GRACE, Signals, Stall, State, Status, Supervisor, Times

# honcho kills what has not stopped 5 s after its TERM.
HONCHO_WAITS = 5.0


@pytest.fixture(scope="module")
def library(installer) -> Iterator[Any]:
    """One installation for the tests of this file: each starts a worker of its own."""
    installation = installer.make("sqlite")
    yield installation
    installation.close()


@pytest.fixture
def start(library) -> Iterator[Callable[..., RunningWorker]]:
    """A function that starts workers, which are gone after the test."""
    started: list[RunningWorker] = []

    def start_worker(*arguments: str, installation: Any = library, workers: int = 2) -> RunningWorker:
        # A short grace, so that a cluster which can no longer stop by itself is soon replaced.
        arguments = arguments or ("--grace", "1")
        started.append(RunningWorker(installation, *arguments, workers=workers))
        return started[-1]

    yield start_worker
    for worker in started:
        worker.close()
    library.shell("from django_q.models import OrmQ; OrmQ.objects.all().delete()")


def assert_gone(processes: list[psutil.Process], seconds: float = 5) -> None:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    # A zombie is nobody's process any more; whether it is reaped is init's business.
    left = [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    assert left == []


def assert_replaced(worker: RunningWorker, old: list[psutil.Process]) -> None:
    """The old cluster is gone as a whole, a new one works, and the supervisor has told about it."""
    worker.wait_for(lambda: "started anew" in worker.read_output(), what="the supervisor to notice")
    worker.assert_works()
    assert_gone(old, seconds=0.1)
    assert len(worker.parts()) == worker.workers + OTHER_PROCESSES
    assert worker.supervisor.poll() is None
    assert worker.read_output().count("started anew") == 1


# -- Killed from outside -----------------------------------------------------------------------


@pytest.mark.parametrize("part", ["main", "sentinel", "worker 0", "worker 1", "monitor", "pusher"])
def test_a_part_that_is_killed(start, part):
    """Of the two idle workers, one holds the lock that the other waits for."""
    worker = start()
    parts = worker.parts()
    parts[part].kill()
    assert_replaced(worker, list(parts.values()))


def test_a_busy_worker_that_is_killed(start):
    worker = start()
    parts = worker.parts()
    worker.keep_busy().kill()
    assert_replaced(worker, list(parts.values()))
    worker.wait_for(lambda: worker.row().get("restarts") == 1, what="the row to tell of it")
    row = worker.row()
    assert "SIGKILL" in row["message"]
    assert row["state"] == State.RUNNING
    assert row["host"] == socket.gethostname()
    assert row["cluster_pid"] == worker.parts()["main"].pid != parts["main"].pid
    assert row["processes"] == 2


def test_the_supervisor_that_is_killed(start):
    """On Linux the kernel ends the cluster with it, down to the worker in the middle of a task."""
    first = start()
    parts = first.parts()
    first.keep_busy()
    first.supervisor.kill()
    first.supervisor.wait()
    assert_gone(list(parts.values()))
    second = start()
    second.assert_works()
    second.wait_for(second.row, what="the row")
    assert first.row() == {}, "the dead supervisor's row"
    assert len(list(second.installation.folder.glob("workers/*"))) == 1, "the dead supervisor's folder"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_clusters_own_group(start, number):
    """What no supervisor can keep away: here a bare qcluster hangs for ever."""
    worker = start()
    parts = worker.parts()
    os.killpg(parts["main"].pid, number)
    assert_replaced(worker, list(parts.values()))


def test_a_cluster_that_stops_without_being_asked(start):
    """It ends in good order and with exit code 0, and is a failure all the same."""
    worker = start()
    parts = worker.parts()
    parts["main"].terminate()
    assert_replaced(worker, list(parts.values()))
    assert "exit code 0, which nobody had asked for" in worker.read_output()


def test_a_cluster_that_stands_still(start):
    """Work is there and nobody has died, yet nothing is done."""
    worker = start("--stalled-after", "2", "--grace", "1")
    parts = worker.parts()
    for number in range(worker.workers):
        parts[f"worker {number}"].suspend()
    task = worker.put("pass")
    worker.wait_for(lambda: "has finished none of them" in worker.read_output(), what="the stall")
    assert_replaced(worker, list(parts.values()))
    assert "did not stop within 1 s" in worker.read_output()
    # The broker delivers again what the dead cluster had taken, but only after `retry` seconds.
    assert not worker.is_done(task)


def test_a_pusher_that_takes_nothing(start):
    """The tasks stay in the broker, which the supervisor asks."""
    worker = start("--stalled-after", "2", "--grace", "1")
    parts = worker.parts()
    parts["pusher"].suspend()
    task = worker.put("pass")
    assert_replaced(worker, list(parts.values()))
    worker.wait_for(lambda: worker.is_done(task), what="the task that lay in the broker")


# -- Told to stop ------------------------------------------------------------------------------


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
    worker = start("--grace", str(GRACE))
    parts = worker.parts()
    if busy:
        worker.keep_busy()
    assert worker.stop(number, group=group) < HONCHO_WAITS
    assert worker.supervisor.returncode == 0
    assert_gone(list(parts.values()), seconds=0.1)
    assert worker.processes() == []
    assert ("were killed" in worker.read_output()) is busy
    assert not list(worker.installation.folder.glob("workers/*"))
    assert worker.row()["state"] == State.STOPPED


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_other_ways_to_say_stop(start, number):
    worker = start()
    worker.parts()
    assert worker.stop(number) < HONCHO_WAITS
    assert worker.supervisor.returncode == 0
    assert worker.processes() == []


def test_a_stop_while_the_cluster_starts(start):
    worker = start()
    worker.wait_for(worker.processes, what="the cluster's first process")
    assert worker.stop() < HONCHO_WAITS
    assert worker.supervisor.returncode == 0
    assert worker.processes() == []


def test_a_task_may_end_early_when_a_stop_is_asked(start):
    """So its work is recorded, and the stop does not wait for the whole slice."""
    worker = start("--grace", str(GRACE))
    worker.parts()
    task = worker.put("import proxies.pulse, time\nwhile not proxies.pulse.stop_is_asked(): time.sleep(0.01)")
    (taken,) = worker.installation.folder.glob("workers/*/taken")
    worker.wait_for(lambda: taken.stat().st_size, what="the task to be taken")
    assert worker.stop() < HONCHO_WAITS
    assert "were killed" not in worker.read_output()
    assert worker.is_done(task)


# -- Without its database, and on others -------------------------------------------------------


def test_a_worker_outlives_its_database(start, install):
    """Here it has no tables yet, as on the first start of an installation."""
    installation = install()
    database = installation.folder / "novaproxy.sqlite3"
    database.rename(installation.folder / "away")
    worker = start(installation=installation)
    worker.wait_for(lambda: "does not answer" in worker.read_output(), what="it to notice")
    time.sleep(1)
    assert worker.supervisor.poll() is None
    database.unlink()
    (installation.folder / "away").rename(database)
    worker.wait_for(lambda: "database answers again" in worker.read_output(), what="it to notice")
    worker.wait_for(lambda: worker.row().get("state") == State.RUNNING, what="the row")
    assert worker.stop() < HONCHO_WAITS
    assert worker.read_output().count("The database does not answer") == 1


def test_a_database_that_is_not_there_at_all(start, install):
    installation = install()
    installation.environment["DATABASE_URL"] = "postgres://nobody@127.0.0.1:1/none"
    worker = start(installation=installation)
    worker.wait_for(lambda: "does not answer" in worker.read_output(), what="it to notice")
    assert worker.supervisor.poll() is None
    assert worker.stop() < HONCHO_WAITS
    assert worker.processes() == []


@pytest.mark.every_backend
def test_every_backend(start, installation):
    worker = start(installation=installation, workers=1)
    worker.parts()
    worker.assert_works()
    worker.wait_for(lambda: worker.row().get("state") == State.RUNNING, what="the row")
    assert worker.stop() < HONCHO_WAITS
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


# -- Leftovers, where no kernel helps ----------------------------------------------------------


class Silence:
    """A report to nobody, that says how long the queue is."""

    tasks_waiting: int | None = None

    def __init__(self) -> None:
        self.said: list[Status] = []

    def say(self, status: Status) -> None:
        if not self.said or self.said[-1] != status:
            self.said.append(status)


@pytest.fixture
def supervise(tmp_path) -> Callable[..., tuple[Supervisor, Silence]]:
    """A function that makes supervisors, in this process, of any command."""

    def make(*source: str, **times: float) -> tuple[Supervisor, Silence]:
        report = Silence()
        supervisor = Supervisor(
            folder=tmp_path,
            command=[sys.executable, "-c", "\n".join(source)],
            processes=1,
            times=Times(**{"stalled_after": 60.0, "grace": 1.0} | times),
            report=report,
        )
        return supervisor, report

    return make


def stop_after(seconds: float) -> None:
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM)).start()


@pytest.fixture
def sleeper() -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """A function that starts a process which looks like one of a cluster's."""
    started: list[subprocess.Popen[bytes]] = []

    def start_sleeper(folder: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(["sleep", "60"], env={VARIABLE: folder, "PATH": os.environ["PATH"]}))
        return started[-1]

    yield start_sleeper
    for process in started:
        process.kill()
        process.wait()


def test_leftovers_of_a_dead_supervisor_are_killed_and_nobody_else(supervise, sleeper, tmp_path):
    host = socket.gethostname()
    dead = f"{host}:{os.getpid()}:1.00"  # our pid, but of another process: it started in 1970
    alive = f"{host}:{os.getppid()}:{psutil.Process(os.getppid()).create_time():.2f}"
    leftover = sleeper(f"{tmp_path}/{dead}")
    others = [
        sleeper(f"{tmp_path}/{alive}"),
        sleeper(f"{tmp_path}/another-machine:{os.getpid()}:1.00"),
        sleeper(f"{tmp_path}-of-another-installation/{dead}"),
    ]
    (tmp_path / dead).mkdir()
    supervisor, _ = supervise("import time; time.sleep(60)")
    stop_after(0.5)
    supervisor.run()
    assert leftover.wait(5) == -signal.SIGKILL
    assert [process.poll() for process in others] == [None, None, None]
    assert list(tmp_path.iterdir()) == []


# -- Back-off, stalls and signals, looked at closely -------------------------------------------


def test_failures_in_a_row_are_tried_again_later_each_time(supervise):
    supervisor, report = supervise("raise SystemExit(0)", first_back_off=0.05)
    stop_after(3)
    supervisor.run()
    waits = [status for status in report.said if status.state is State.WAITING]
    assert 4 <= len(waits) <= 6, "0.05, 0.1, 0.2, 0.4, 0.8 s, and the time it takes to start Python"
    assert [status.restarts for status in waits] == list(range(1, len(waits) + 1))
    assert "ended with exit code 0" in waits[0].message
    assert report.said[-1].state is State.STOPPED


@pytest.mark.parametrize(
    ("source", "healthy_after"),
    [
        pytest.param("", 0.0, id="a-long-time"),
        pytest.param(
            f"import os; open(os.environ[{VARIABLE!r}] + '/done', 'w').write('.')", 60.0, id="a-task"
        ),
    ],
)
def test_a_failure_after_some_work_is_the_first_one_again(supervise, monkeypatch, source, healthy_after):
    monkeypatch.setattr("proxies.worker.HEALTHY_AFTER", healthy_after)
    supervisor, report = supervise(source, "raise SystemExit(1)", first_back_off=0.01)
    stop_after(3)
    supervisor.run()
    assert len([status for status in report.said if status.state is State.WAITING]) > 8


def test_a_cluster_that_will_not_stop_is_killed_with_all_its_processes(supervise, tmp_path):
    supervisor, _ = supervise(
        "import os, pathlib, signal, time",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "child = os.fork()",
        "if not child: os.setsid()",  # out of the group and the session, as no process of django-q2's is
        f"pathlib.Path({str(tmp_path)!r}, f'pid-{{os.getpid()}}').touch()",
        "time.sleep(60)",
    )
    stop_after(1)
    began = time.monotonic()
    supervisor.run()
    assert time.monotonic() - began < 4
    pids = [int(path.name.removeprefix("pid-")) for path in tmp_path.glob("pid-*")]
    assert len(pids) == 2
    assert_gone([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)])


@pytest.mark.parametrize(
    ("observed", "seconds"),
    [
        pytest.param([(0, 0, 0), (9, 0, 0)], 0, id="no-work"),
        pytest.param([(0, 0, 1), (9, 0, 1)], 9, id="work-and-none-done"),
        pytest.param([(0, 0, 1), (9, 1, 1)], 0, id="some-done"),
        pytest.param([(0, 0, 1), (5, 1, 1), (6, 1, 1), (9, 1, 1)], 3, id="then-no-more"),
        pytest.param([(0, 0, 0), (8, 0, 2), (9, 0, 2)], 1, id="from-when-work-came"),
        pytest.param([(0, 0, 1), (5, 0, 0), (6, 0, 1), (9, 0, 1)], 3, id="work-went-and-came"),
    ],
)
def test_a_stall_is_the_time_with_work_and_without_progress(observed, seconds):
    stall = Stall()
    answers = [stall.observe(now, done=done, work=work) for now, done, work in observed]
    assert answers[-1] == seconds


def test_signals_that_are_ignored_stay_so():
    """As nohup does it with HUP, and a shell with INT in the background."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            signals.wait(0.1)
            assert signals.stop is None
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            signals.wait(1)
            assert signals.stop is signal.SIGTERM
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_pulse_counts(tmp_path):
    pulse = Pulse(tmp_path / "host:12:3.00")
    pulse.reset()
    assert (pulse.done, pulse.in_hand, pulse.deaths, pulse.sentinel_pid, pulse.last_done_at) == (
        0,
        0,
        "",
        None,
        None,
    )
    pulse.note_taken(3)
    pulse.note_done()
    pulse.note_death("one")
    pulse.note_death("two")
    pulse.note_sentinel(42)
    assert (pulse.done, pulse.in_hand, pulse.deaths, pulse.sentinel_pid) == (1, 2, "one\ntwo", 42)
    assert pulse.last_done_at is not None
    assert pulse.supervisor_pid == 12
    pulse.reset()
    assert (pulse.done, pulse.in_hand, pulse.deaths, pulse.stop_is_asked) == (0, 0, "", False)


def test_a_pulse_whose_folder_is_gone_is_still_and_stays_gone(tmp_path):
    pulse = Pulse(tmp_path / "host:12:3.00")
    pulse.note_taken(1)
    pulse.note_done()
    pulse.note_death("one")
    assert (pulse.done, pulse.in_hand, pulse.deaths, pulse.sentinel_pid) == (0, 0, "", None)
    assert not pulse.folder.exists()


def test_outside_a_worker_no_stop_is_asked(monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert not stop_is_asked()
    pulse = Pulse(tmp_path / "host:12:3.00")
    pulse.reset()
    monkeypatch.setenv(VARIABLE, str(pulse.folder))
    assert not stop_is_asked()
    pulse.ask_to_stop()
    assert stop_is_asked()

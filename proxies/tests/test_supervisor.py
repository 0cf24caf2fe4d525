"""The supervisor in this process, with an arbitrary command as its cluster, and how the two communicate."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from proxies.processes.control_dir import VARIABLE, ControlDir, stop_is_asked
from proxies.processes.identity import identity_of, this_process
from proxies.processes.stop_signals import Signals
from proxies.queue.supervisor import Stall, State, Status, Supervisor, Times
from proxies.tests.driving import SOON, assert_gone

# -- Leftover processes, without the kernel's help ---------------------------------------------


class Silence:
    """A report that keeps what it gets, fakes the queue's length, and asks for a stop when it has enough."""

    def __init__(self, enough: Callable[[list[Status]], bool], tasks_waiting: int | None = None) -> None:
        self.tasks_waiting = tasks_waiting
        self.said: list[Status] = []
        self._enough = enough
        self._has_asked = False

    def say(self, status: Status) -> None:
        if not self.said or self.said[-1] != status:
            self.said.append(status)
        if not self._has_asked and self._enough(self.said):
            self._has_asked = True
            os.kill(os.getpid(), signal.SIGTERM)


def has_waited(times: int) -> Callable[[list[Status]], bool]:
    return lambda said: sum(status.state is State.WAITING for status in said) >= times


@pytest.fixture
def supervise(tmp_path) -> Callable[..., Silence]:
    """Return a function that supervises any command, in this process, until ``enough`` holds."""

    def run(
        *source: str, enough: Callable[[list[Status]], bool], waiting: int | None = None, **times: float
    ) -> Silence:
        report = Silence(enough, waiting)
        Supervisor(
            folder=tmp_path,
            command=[sys.executable, "-c", "\n".join(source)],
            processes=1,
            times=Times(**{"stalled_after": 60.0, "grace": 1.0} | times),
            report=report,
        ).run()
        return report

    return run


@pytest.fixture
def sleeper() -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Yield a function that starts a process which looks like one of a cluster's."""
    started: list[subprocess.Popen[bytes]] = []

    def start_sleeper(folder: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(["sleep", "60"], env={VARIABLE: folder, "PATH": os.environ["PATH"]}))
        return started[-1]

    yield start_sleeper
    for process in started:
        process.kill()
        process.wait()


def test_only_leftovers_of_a_dead_supervisor_are_killed(supervise, sleeper, tmp_path):
    dead = this_process().rpartition(":")[0] + ":1"  # our pid, but another process
    alive = identity_of(os.getppid())
    leftover = sleeper(f"{tmp_path}/{dead}")
    others = [
        sleeper(f"{tmp_path}/{alive}"),
        sleeper(f"{tmp_path}/another-machine:{os.getpid()}:1"),
        sleeper(f"{tmp_path}-of-another-installation/{dead}"),
    ]
    (tmp_path / dead).mkdir()
    supervise("import time; time.sleep(60)", enough=lambda said: said[-1].state is State.RUNNING)
    assert leftover.wait(SOON) == -signal.SIGKILL
    assert [process.poll() for process in others] == [None, None, None]
    assert list(tmp_path.iterdir()) == []


# -- Back-off, stalls and signals in detail ----------------------------------------------------


def waits_told(log: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage().rpartition("Restarting in ")[2]
        for record in log.records
        if "Restarting" in record.msg
    ]


def test_repeated_failures_are_retried_after_growing_delays(supervise, caplog):
    report = supervise("raise SystemExit(0)", enough=has_waited(5), first_back_off=0.05)
    waits = [status for status in report.said if status.state is State.WAITING]
    assert waits_told(caplog) == ["0.05 s.", "0.1 s.", "0.2 s.", "0.4 s.", "0.8 s."]
    assert [status.restarts for status in waits] == [1, 2, 3, 4, 5]
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
def test_a_failure_after_some_work_counts_as_the_first(supervise, monkeypatch, caplog, source, healthy_after):
    monkeypatch.setattr("proxies.queue.supervisor.HEALTHY_AFTER", healthy_after)
    supervise(source, "raise SystemExit(1)", enough=has_waited(3), first_back_off=0.01)
    assert waits_told(caplog) == ["0.01 s."] * 3


def test_a_cluster_that_will_not_stop_is_killed_with_all_its_processes(supervise, tmp_path):
    def pids() -> list[int]:
        return [int(path.name.removeprefix("pid-")) for path in tmp_path.glob("pid-*")]

    began = time.monotonic()
    supervise(
        "import os, pathlib, signal, time",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "child = os.fork()",
        "if not child: os.setsid()",  # leaves the group and the session, unlike any process of django-q2
        f"pathlib.Path({str(tmp_path)!r}, f'pid-{{os.getpid()}}').touch()",
        "time.sleep(60)",
        enough=lambda said: len(pids()) == 2,
    )
    assert time.monotonic() - began < 60, "it waited for the cluster to end by itself"
    assert_gone(pids(), seconds=5)


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


def test_a_slow_start_with_work_in_the_queue_is_no_stall(supervise):
    report = supervise(
        "import os, pathlib, time",
        f"folder = pathlib.Path(os.environ[{VARIABLE!r}])",
        "time.sleep(3)",
        "(folder / 'sentinel').write_text(str(os.getpid()))",
        "(folder / 'done').write_text('.')",
        "time.sleep(60)",
        enough=lambda said: said[-1].control_dir.done > 0 or said[-1].state is State.WAITING,
        waiting=1,
        stalled_after=1.0,
    )
    assert [status.state for status in report.said] == [
        State.STARTING,
        State.RUNNING,
        State.STOPPING,
        State.STOPPED,
    ]


def test_a_cluster_that_never_starts_is_replaced(supervise, monkeypatch):
    monkeypatch.setattr("proxies.queue.supervisor.START_TIME", 0.5)
    report = supervise("import time; time.sleep(60)", enough=has_waited(1), waiting=1, stalled_after=0.5)
    assert "has finished none of them" in report.said[-1].message


def test_ignored_signals_stay_ignored():
    """nohup ignores HUP, and a shell ignores INT for background processes."""
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


def test_a_control_directory_counts(tmp_path):
    folder = ControlDir(tmp_path / "host:12:3.00")
    folder.reset()
    assert (
        folder.done,
        folder.in_hand,
        folder.deaths,
        folder.sentinel_pid,
        folder.last_done_at,
    ) == (
        0,
        0,
        "",
        None,
        None,
    )
    folder.note_taken(3)
    folder.note_done()
    folder.note_death("one")
    folder.note_death("two")
    folder.note_sentinel(42)
    assert (folder.done, folder.in_hand, folder.deaths, folder.sentinel_pid) == (
        1,
        2,
        "one\ntwo",
        42,
    )
    assert folder.last_done_at is not None
    assert folder.supervisor_pid == 12
    folder.reset()
    assert (folder.done, folder.in_hand, folder.deaths, folder.stop_is_asked) == (
        0,
        0,
        "",
        False,
    )


def test_a_deleted_control_directory_reads_as_empty_and_stays_deleted(tmp_path):
    folder = ControlDir(tmp_path / "host:12:3.00")
    folder.note_taken(1)
    folder.note_done()
    folder.note_death("one")
    assert (folder.done, folder.in_hand, folder.deaths, folder.sentinel_pid) == (
        0,
        0,
        "",
        None,
    )
    assert not folder.folder.exists()


def test_outside_a_worker_no_stop_is_asked(monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert not stop_is_asked()
    folder = ControlDir(tmp_path / "host:12:3.00")
    folder.reset()
    monkeypatch.setenv(VARIABLE, str(folder.folder))
    assert not stop_is_asked()
    folder.ask_to_stop()
    assert stop_is_asked()

"""The supervisor of django-q2's cluster, run by ``manage.py worker``.

A bare ``qcluster`` hangs forever on a signal to its process group, exits with 0 and leaves four processes
behind when its sentinel is killed, and stops processing when a worker is killed at the wrong moment. So:

* The cluster runs in its own session. Signals reach only its main process, through the supervisor.
* A stop sends a request, waits for a grace period, and then kills the whole session. The grace period is
  short, because a decode can be repeated. A model's answers are billed: while a process waits for some, the
  stop waits for it, up to the longest time that an answer may take. A second signal stops at once.
* An unrequested exit, with any exit code, is a failure: the rest of the session is killed and a new cluster
  is started, with a longer delay each time.
* A sudden death of a process, or waiting work of which none gets finished, is a failure, too.
* Nothing is left behind: on Linux the kernel ends the cluster with its supervisor; elsewhere the next
  supervisor does so when it starts.

This process runs no tasks, never forks without exec, and accesses the database and the broker only in a
separate thread (`proxies.queue.supervisor_report`), so that neither can block it by not responding.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

import psutil

from proxies.processes.control_dir import VARIABLE, ControlDir
from proxies.processes.identity import runs_here, this_process
from proxies.processes.stop_signals import Signals

log = logging.getLogger(__name__)

TICK: Final = 0.5  # s between two checks of the cluster
GRACE: Final = 3.0  # s that it gets to stop
KILL_TIMEOUT: Final = 5.0  # s that the kernel gets to end killed processes
MAIN_OUTLIVES_SENTINEL: Final = 3.0  # s at most, on a busy machine
START_TIME: Final = 60.0  # s at most until a cluster's sentinel runs; a stall counts from then on
FIRST_BACK_OFF: Final = 0.5  # s, doubled with each failure in a row
LONGEST_BACK_OFF: Final = 30.0
HEALTHY_AFTER: Final = 60.0  # s of uptime after which a failure counts as the first one again


class State(StrEnum):
    """The state that a supervisor reports."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    WAITING = "waiting"  # before it restarts the cluster
    STOPPED = "stopped"


class Report(Protocol):
    """Receives the supervisor's state and provides the queue length. No call may block."""

    @property
    def tasks_waiting(self) -> int | None:
        """The number of tasks that no cluster has taken; None if unknown."""

    def say(self, status: Status) -> None:
        """Publish the status."""


@dataclass(frozen=True, slots=True)
class Status:
    """The status of a supervisor and its cluster.

    Attributes:
        state: the supervisor's state.
        control_dir: its cluster's control directory, in which tasks are counted.
        cluster_pid: the cluster's main process; None if there is none.
        processes: the number of worker processes.
        restarts: how often the cluster was restarted.
        message: the last failure, for people.
    """

    state: State
    control_dir: ControlDir
    cluster_pid: int | None
    processes: int
    restarts: int
    message: str


@dataclass(frozen=True, slots=True)
class Times:
    """A supervisor's time limits, in seconds.

    Attributes:
        stalled_after: the longest time in which a healthy cluster with work may finish none of it: a task's
            time limit, the time it takes to enforce it, and a margin.
        grace: from the request to stop to the kill.
        answers: the longest time that a stop waits for answers to requests sent before it.
        first_back_off: before the first restart; doubled with each failure in a row.
    """

    stalled_after: float
    grace: float = GRACE
    answers: float = 0.0
    first_back_off: float = FIRST_BACK_OFF


class Supervisor:
    """Keep one cluster running until a signal requests a stop.

    Args:
        folder: where supervisors of this installation keep their control directories.
        command: starts the cluster; it must call `proxies.queue.cluster.run`.
        processes: the number of worker processes, for the report.
        times: its time limits.
        report: receives its state.
    """

    def __init__(
        self, *, folder: Path, command: list[str], processes: int, times: Times, report: Report
    ) -> None:
        self._control_dir = ControlDir(folder / this_process())
        self._command = command
        self._processes = processes
        self._times = times
        self._report = report
        self._signals = Signals()
        self._cluster: Cluster | None = None
        self._restarts = 0
        self._failures_in_a_row = 0
        self._message = ""

    def run(self) -> None:
        """Supervise until TERM, INT or HUP arrives."""
        with self._signals:
            self._clear_leftovers()
            try:
                while self._signals.stop is None:
                    self._run_one_cluster()
            finally:
                self._control_dir.remove()
                self._say(State.STOPPED)
        log.info("The worker has stopped.")

    def _run_one_cluster(self) -> None:
        began = time.monotonic()
        self._say(State.STARTING)
        self._cluster = Cluster(self._command, self._control_dir)
        log.info("Cluster %d is starting with %d processes.", self._cluster.pid, self._processes)
        try:
            failure = self._watch(self._cluster)
            # A cluster that finished a task or ran for a while was healthy: its failure is the first.
            was_fit = self._control_dir.done > 0 or time.monotonic() - began > HEALTHY_AFTER
            self._say(State.STOPPING)
        finally:
            self._end(self._cluster)
            self._cluster = None
        if failure:
            self._failures_in_a_row = 1 if was_fit else self._failures_in_a_row + 1
            self._back_off(failure)

    def _watch(self, cluster: Cluster) -> str:
        """Return why the cluster failed; empty if it should stop."""
        stall = Stall()
        began = guarded_at = time.monotonic()
        while True:
            self._say(State.RUNNING)
            self._signals.wait(TICK)
            if self._signals.stop is not None:
                log.info("Got %s: stopping cluster %d.", self._signals.stop.name, cluster.pid)
                return ""
            if (exit_code := cluster.poll()) is not None:
                return f"it ended with exit code {exit_code} without a request to stop"
            if deaths := self._control_dir.deaths:
                return deaths.replace("\n", ", ")
            # Main ends after its sentinel, unless it was communicating with it: then it waits forever.
            if self._is_guarded():
                guarded_at = time.monotonic()
            elif time.monotonic() - guarded_at > MAIN_OUTLIVES_SENTINEL:
                return f"its sentinel, process {self._control_dir.sentinel_pid}, has ended"
            has_started = self._control_dir.sentinel_pid is not None or time.monotonic() - began > START_TIME
            if has_started and (stalled := self._stalled(stall)):
                return stalled

    def _is_guarded(self) -> bool:
        sentinel = self._control_dir.sentinel_pid
        return sentinel is None or is_running(sentinel)

    def _stalled(self, stall: Stall) -> str:
        """Return a description of the stall if there is work but none gets finished, else an empty string."""
        work = self._control_dir.in_hand + (self._report.tasks_waiting or 0)
        idle = stall.observe(time.monotonic(), done=self._control_dir.done, work=work)
        if idle <= self._times.stalled_after:
            return ""
        return f"it has {work} tasks and has finished none of them for {idle:.0f} s"

    def _end(self, cluster: Cluster) -> None:
        """Stop the cluster; kill what has not ended in time."""
        cluster.ask_to_stop()
        is_in_time = self._await_end(cluster)
        killed = cluster.kill()
        if not is_in_time:
            log.warning(
                "Cluster %d did not stop in time (%g s, and %g s for answers); its %d processes were killed.",
                *(cluster.pid, self._times.grace, self._times.answers, killed),
            )
        elif killed:
            log.warning("Cluster %d left %d processes behind, which were killed.", cluster.pid, killed)

    def _await_end(self, cluster: Cluster) -> bool:
        """Wait for the cluster to end; return False if its time is up or a second signal arrived."""
        began = time.monotonic()
        deadline, last_answers = began + self._times.grace, began + self._times.answers
        is_told = False
        while cluster.poll() is None:
            moment = time.monotonic()
            if self._is_awaiting() and moment < last_answers:
                # The process records the answers after the last one has arrived.
                deadline = moment + self._times.grace
                if not is_told:
                    log.info(
                        "Waiting up to %g s for answers that may be billed. Signal again to stop at once.",
                        self._times.answers,
                    )
                    is_told = True
            if moment >= deadline or self._signals.is_repeated:
                return False
            self._signals.wait(min(deadline - moment, TICK))
        return True

    def _is_awaiting(self) -> bool:
        return any(is_running(pid) for pid in self._control_dir.awaiting)

    def _back_off(self, failure: str) -> None:
        """Wait before the next start, longer with each failure in a row; a stop ends the wait."""
        self._restarts += 1
        delay = min(self._times.first_back_off * 2 ** (self._failures_in_a_row - 1), LONGEST_BACK_OFF)
        self._message = f"The cluster failed: {failure}."
        log.error("%s Restarting in %g s.", self._message, delay)
        self._say(State.WAITING)
        deadline = time.monotonic() + delay
        while self._signals.stop is None and (left := deadline - time.monotonic()) > 0:
            self._signals.wait(left)

    def _clear_leftovers(self) -> None:
        """Kill processes and remove folders left behind by killed supervisors of this installation."""
        folder = self._control_dir.folder.parent
        for process, control_dir in processes_of_clusters():
            if control_dir.folder.parent == folder and runs_here(control_dir.supervisor) is False:
                log.warning("Killing process %d, whose supervisor is dead.", process.pid)
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        for left in folder.glob("*:*:*"):
            if runs_here(left.name) is False:
                ControlDir(left).remove()

    def _say(self, state: State) -> None:
        self._report.say(
            Status(
                state=state,
                control_dir=self._control_dir,
                cluster_pid=self._cluster.pid if self._cluster else None,
                processes=self._processes,
                restarts=self._restarts,
                message=self._message,
            )
        )


class Cluster:
    """A running cluster: its main process, which leads its own session, and all descendants."""

    def __init__(self, command: list[str], control_dir: ControlDir) -> None:
        control_dir.reset()
        self._control_dir = control_dir
        self._process = subprocess.Popen(  # noqa: S603 (our own manage.py)
            command,
            stdin=subprocess.DEVNULL,
            env=os.environ | {VARIABLE: str(control_dir.folder)},
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """Return the main process's exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def ask_to_stop(self) -> None:
        """Send the signal only to the main process: a signal to all of them hangs a cluster."""
        self._control_dir.ask_to_stop()
        self._process.terminate()

    def kill(self) -> int:
        """Kill what is left of the session; return the number of killed processes."""
        killed: set[int] = set()
        deadline = time.monotonic() + KILL_TIMEOUT
        # First the whole group at the same instant, then one by one those that have left the group.
        with suppress(ProcessLookupError, PermissionError):
            killed |= {process.pid for process in self._processes()}
            os.killpg(self.pid, signal.SIGKILL)
        while left := list(self._processes()):
            for process in left:
                killed.add(process.pid)
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left, timeout=0.1)
            if time.monotonic() > deadline:
                log.error("Processes %s cannot be killed.", [process.pid for process in left])
                break
        self._process.wait()
        return len(killed)

    def _processes(self) -> Iterator[psutil.Process]:
        return (
            process for process, control_dir in processes_of_clusters() if control_dir == self._control_dir
        )


class Stall:
    """Measures for how long there has been work of which none was finished."""

    def __init__(self) -> None:
        self._done = 0
        self._since: float | None = None

    def observe(self, now: float, *, done: int, work: int) -> float:
        """Return the seconds without progress, as of `now`, given the numbers of done and open tasks."""
        if done != self._done or not work:
            self._done, self._since = done, None
            return 0.0
        if self._since is None:
            self._since = now
        return now - self._since


def is_running(pid: int) -> bool:
    """Return whether a process with this pid exists and is not a zombie."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def processes_of_clusters() -> Iterator[tuple[psutil.Process, ControlDir]]:
    """Yield every living process on this machine that belongs to a cluster, by its inherited variable.

    Not by session or process group, because their numbers may have been reused meanwhile.
    """
    for process in psutil.process_iter():
        # Processes of other users do not show their environment, and zombies have none.
        with suppress(psutil.Error):
            folder = process.environ().get(VARIABLE)
            if folder and process.status() != psutil.STATUS_ZOMBIE:
                yield process, ControlDir(Path(folder))


def cluster_command(manage: Path) -> list[str]:
    """Return the command that starts a cluster."""
    return [sys.executable, str(manage), "worker", "--cluster"]

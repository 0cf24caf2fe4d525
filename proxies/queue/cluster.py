"""The django-q2 cluster that the supervisor runs: it ends with its parent and reports its progress.

`proxies.queue.supervisor` starts it in its own session (``manage.py worker --cluster``). It changes
``qcluster`` in three ways, each because of an observed failure:

* **Nothing outlives its parent.** django-q2 forks: main, the sentinel, and from it pusher, workers and
  monitor. When one of them is killed, the others keep running unmonitored. On Linux each asks the kernel to
  kill it with its parent, so that the end of any process also ends its descendants.
* **A sudden death is reported.** A process that is killed while it holds a queue's lock never releases it:
  django-q2 replaces the process, but nothing is ever processed again.
* **Tasks are counted** when the pusher takes them from the broker and when the monitor sees them finished.
  This shows the supervisor a cluster that has work but does none.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from typing import Any, Final

from django_q import cluster as django_q_cluster
from django_q.brokers import Broker, get_broker
from django_q.signals import post_execute

from proxies.processes.control_dir import ControlDir

PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
# Loaded once here: a child must not load a library between its fork and its first line.
LIBC: Final = ctypes.CDLL(None, use_errno=True)


def tasks_waiting() -> int:
    """Return how many tasks in the broker no cluster has taken. Raises what the broker raises."""
    return int(get_broker().queue_size())


def run(control_dir: ControlDir) -> None:
    """Start the cluster and return; the process then waits for its children until it receives TERM.

    Args:
        control_dir: where to record events for the supervisor.
    """
    die_with_parent(control_dir.supervisor_pid)
    os.register_at_fork(before=_remember_parent, after_in_child=lambda: die_with_parent(_parent_pid))

    def note_done(**signal_arguments: Any) -> None:
        control_dir.note_done()

    post_execute.connect(note_done, weak=False)
    # Cluster.start() looks the class up in its module; there is no other way to replace it.
    django_q_cluster.Sentinel = watched_sentinel(control_dir)
    django_q_cluster.Cluster().start()


def watched_sentinel(control_dir: ControlDir) -> type[Any]:
    """Return a subclass of django-q2's sentinel, which forks and monitors all others, that records events."""

    class WatchedSentinel(django_q_cluster.Sentinel):  # type: ignore[misc]
        def start(self) -> None:
            control_dir.note_sentinel(os.getpid())
            self.broker.dequeue = _counted(self.broker, control_dir)
            super().start()

        def reincarnate(self, process: BaseProcess) -> None:
            # Negative if a signal ended it; None if it still runs past its time limit. A pusher that cannot
            # reach its broker exits with 0, which is harmless.
            exit_code = process.exitcode
            super().reincarnate(process)
            if exit_code is not None and exit_code < 0:
                control_dir.note_death(
                    f"process {process.pid} was ended by {signal.Signals(-exit_code).name}"
                )
            elif exit_code is None:
                # Killed for exceeding its time limit: the monitor will never see its task finished.
                control_dir.note_done()

    return WatchedSentinel


def _counted(broker: Broker, control_dir: ControlDir) -> Callable[[], Any]:
    dequeue = broker.dequeue

    def counted_dequeue() -> Any:
        tasks = dequeue()
        if tasks:
            control_dir.note_taken(len(tasks))
        return tasks

    return counted_dequeue


_parent_pid = 0


def _remember_parent() -> None:
    global _parent_pid  # noqa: PLW0603 (read in the child, which has its own copy)
    _parent_pid = os.getpid()


def die_with_parent(parent_pid: int) -> None:
    """Have Linux kill this process when its parent dies. Do nothing on other systems.

    There, the supervisor kills leftover processes at its next start.
    """
    if sys.platform != "linux":
        return
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # If the parent died before the call, another process has already adopted us and no signal will come.
    if os.getppid() != parent_pid:
        with suppress(OSError):
            os.write(2, b"The parent of this process has ended, so it ends too.\n")
        os._exit(1)

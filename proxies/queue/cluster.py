"""The django-q2 cluster as the supervisor runs it: it ends with its parent and reports what it does.

`proxies.queue.supervisor` starts it in its own session (``manage.py worker --cluster``). It changes
``qcluster`` in three ways, each because of a failure that was observed:

* **Nothing outlives its parent.** django-q2 forks: main, the sentinel, and from it pusher, workers and
  monitor. When one of them is killed the others go on, unguarded. On Linux each asks the kernel to be killed
  with its parent, so that the end of any of them runs down to its children.
* **A sudden death is reported.** A process that is killed while it holds a lock of a queue takes the lock
  with it: it is replaced, and nothing is ever processed again.
* **The way of the tasks is counted**: taken from the broker by the pusher, seen finished by the monitor. So
  the supervisor sees a cluster that holds work and does none.
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
# Loaded here, once: a child must not have to load a library between its fork and its first line.
LIBC: Final = ctypes.CDLL(None, use_errno=True)


def tasks_waiting() -> int:
    """Return how many tasks lie in the broker that no cluster has taken. Raises what the broker raises."""
    return int(get_broker().queue_size())


def run(control_dir: ControlDir) -> None:
    """Start the cluster, and return; the process then waits for its children until it is sent a TERM.

    Args:
        pulse: where to write what happens, for the supervisor to read.
    """
    die_with_parent(control_dir.supervisor_pid)
    os.register_at_fork(before=_remember_parent, after_in_child=lambda: die_with_parent(_parent_pid))

    def note_done(**signal_arguments: Any) -> None:
        control_dir.note_done()

    post_execute.connect(note_done, weak=False)
    # Cluster.start() looks the class up in its module, and is given no other way to name it.
    django_q_cluster.Sentinel = watched_sentinel(control_dir)
    django_q_cluster.Cluster().start()


def watched_sentinel(control_dir: ControlDir) -> type[Any]:
    """Return django-q2's sentinel, which forks and guards all other processes, reporting to `control_dir`."""

    class WatchedSentinel(django_q_cluster.Sentinel):  # type: ignore[misc]
        def start(self) -> None:
            control_dir.note_sentinel(os.getpid())
            self.broker.dequeue = _counted(self.broker, control_dir)
            super().start()

        def reincarnate(self, process: BaseProcess) -> None:
            # Negative where a signal ended it; None where it still runs, past its time. A pusher that
            # cannot reach its broker ends by itself, with 0, and is none the worse for that.
            exit_code = process.exitcode
            super().reincarnate(process)
            if exit_code is not None and exit_code < 0:
                control_dir.note_death(
                    f"process {process.pid} was ended by {signal.Signals(-exit_code).name}"
                )
            elif exit_code is None:
                # Killed for overtime, without a word to the monitor: its task will not be heard of.
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
    """Have Linux kill this process when its parent dies. Elsewhere do nothing.

    Where there is no such call, the supervisor finds what is left over when it starts the next time.
    """
    if sys.platform != "linux":
        return
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # It may have died before the call: then we belong to somebody else already, and nobody will tell us.
    if os.getppid() != parent_pid:
        with suppress(OSError):
            os.write(2, b"The parent of this process is gone; it ends too.\n")
        os._exit(1)

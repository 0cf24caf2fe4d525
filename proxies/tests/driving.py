"""Control a `manage.py worker` from a test: its processes by role, and tasks enqueued for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from novaproxy_site.tests.installation import wait_for
from proxies.processes.control_dir import VARIABLE, ControlDir
from proxies.processes.identity import identity_of
from proxies.queue.supervisor import is_running

# main, sentinel, pusher and monitor run beside the workers.
OTHER_PROCESSES = 4
# Seconds for what takes 3 s on an idle machine. A process that hangs takes longer.
SOON = 20.0


def assert_gone(pids: Iterable[int], seconds: float = SOON) -> None:
    """Assert that the processes end in time. A zombie counts as gone: reaping it is up to init."""
    deadline = time.monotonic() + seconds
    while (left := [pid for pid in pids if is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


class RunningWorker:
    """A worker of an installation, started for a test.

    Args:
        installation: a `novaproxy_site.tests.installation.Installation`, whose queue it processes.
        arguments: further arguments of ``manage.py worker``.
        workers: number of worker processes.
    """

    def __init__(self, installation: Any, *arguments: str, workers: int = 2) -> None:
        self.installation = installation
        self.workers = workers
        self._output = tempfile.NamedTemporaryFile("w+", prefix="worker-", suffix=".log")  # noqa: SIM115
        self.supervisor: subprocess.Popen[str] = installation.popen(
            "worker", "--workers", str(workers), *arguments, output=self._output
        )
        # The prefix of its control directory's name; the start time follows.
        holder = identity_of(self.supervisor.pid).rpartition(":")[0] + ":"
        self._pulses = f"{installation.folder}/workers/{holder}"

    # -- Its processes -------------------------------------------------------------------------

    def processes(self) -> list[psutil.Process]:
        """Return the running processes of its cluster, oldest first, recognized by an inherited variable."""
        ours = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                folder = process.environ().get(VARIABLE, "")
                if folder.startswith(self._pulses) and process.status() != psutil.STATUS_ZOMBIE:
                    ours.append(process)
        return sorted(ours, key=lambda process: (process.create_time(), process.pid))

    def parts(self) -> dict[str, psutil.Process]:
        """Return main, sentinel, worker 0 to n, monitor and pusher, once all of them run."""
        names = ["main", "sentinel", *(f"worker {n}" for n in range(self.workers)), "monitor", "pusher"]

        def all_running() -> list[psutil.Process]:
            processes = self.processes()
            # The process that is forked last must have reached its loop.
            return processes if len(processes) == len(names) and self.is_guarding() else []

        return dict(zip(names, self.wait_for(all_running, what="a whole cluster"), strict=True))

    def is_guarding(self) -> bool:
        """Return whether the cluster's sentinel has started."""
        folders = Path(self._pulses).parent.glob(f"{Path(self._pulses).name}*")
        return any(ControlDir(folder).sentinel_pid for folder in folders)

    def read_output(self) -> str:
        """Return all output of the worker."""
        return Path(self._output.name).read_text()

    # -- Its work ------------------------------------------------------------------------------

    def put(self, source: str) -> str:
        """Enqueue a task that runs Python `source`, and return the task's id."""
        task: str = self.installation.shell(f"""
            from django_q.tasks import async_task
            print(async_task("builtins.exec", {source!r}), end="")
        """)
        return task

    def is_done(self, task: str) -> bool:
        """Return whether the task's result is in the database."""
        found: str = self.installation.shell(f"""
            from django_q.models import Success
            print(Success.objects.filter(id={task!r}).exists())
        """)
        return found == "True\n"

    def assert_works(self, seconds: float = 120) -> None:
        """Enqueue a task and wait until it is done."""
        task = self.put("pass")
        self.wait_for(lambda: self.is_done(task), seconds=seconds, what="a task to be done")

    def keep_busy(self, seconds: float = 60) -> psutil.Process:
        """Enqueue a task that only sleeps, and return the process that runs it."""
        path = Path(tempfile.mkdtemp(dir=self.installation.folder)) / "pid"
        self.put(
            "import os, pathlib, time\n"
            f"pathlib.Path({str(path)!r}).write_text(str(os.getpid()))\n"
            f"time.sleep({seconds})"
        )
        pid = self.wait_for(lambda: path.exists() and path.read_text(), what="a task to be begun")
        return psutil.Process(int(pid))

    def row(self) -> dict[str, Any]:
        """Return the supervisor's row."""
        printed = self.installation.shell(f"""
            import json
            from proxies.models import WorkerState
            rows = WorkerState.objects.filter(pid={self.supervisor.pid})
            print(json.dumps(list(rows.values()), default=str))
        """)
        rows: list[dict[str, Any]] = json.loads(printed)
        return rows[0] if rows else {}

    # -- Its end -------------------------------------------------------------------------------

    def stop(self, number: int = signal.SIGTERM, *, group: bool = False) -> float:
        """Send a signal to the process or its group, and return the seconds until it ended."""
        began = time.monotonic()
        (os.killpg if group else os.kill)(self.supervisor.pid, number)
        self.supervisor.wait(120)
        return time.monotonic() - began

    def close(self) -> None:
        """Kill the remaining processes."""
        self.supervisor.kill()
        self.supervisor.wait()
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._output.close()

    def wait_for(self, condition: Callable[[], Any], *, seconds: float = 120, what: str) -> Any:
        """Return the first true result of `condition`. Raises AssertionError with the worker's log."""
        return wait_for(condition, seconds=seconds, what=lambda: f"{what}\n{self.read_output()}")

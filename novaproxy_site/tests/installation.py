"""A throw-away installation of NovaProxy, driven from outside with `manage.py` as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import psutil

from novaproxy_site.tests.environment import clean_environment

ROOT = Path(__file__).resolve().parent.parent.parent


class Installation:
    """An isolated data folder, database and broker, with an isolated environment.

    Attributes:
        folder: NOVAPROXY_DATA_DIR; nothing else is written to, except the database server.
        environment: the complete environment of its processes; a test may change it.
    """

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.environment = clean_environment(os.environ)
        # pytest-django sets it to the tests' own settings module.
        self.environment.pop("DJANGO_SETTINGS_MODULE", None)
        self.environment |= {
            "NOVAPROXY_DATA_DIR": str(folder),
            "DATABASE_URL": f"sqlite:///{folder / 'novaproxy.sqlite3'}",
            "PYTHONUNBUFFERED": "1",
        } | environment
        self._started: list[subprocess.Popen[str]] = []
        self._console: Console | None = None

    def manage(
        self,
        *arguments: str | Path,
        check: bool = True,
        timeout: float = 120,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``manage.py`` to its end.

        Raises:
            AssertionError: the exit code is not 0, and `check` is set.
            subprocess.TimeoutExpired: it took longer than `timeout` seconds and was killed.
        """
        result = subprocess.run(
            self._command(*arguments),
            env=self.environment | dict(environment or {}),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and result.returncode:
            raise AssertionError(
                f"manage.py {arguments} exited with {result.returncode}:\n{result.stdout}\n{result.stderr}"
            )
        return result

    def shell(self, source: str) -> str:
        """Run Python `source` with Django set up, in a process of the installation; return what it prints.

        The process is kept for the next call, which then takes milliseconds. Raises AssertionError with the
        traceback if `source` raises.
        """
        if self._console is None or self._console.environment != self.environment:
            self._close_console()
            self._console = Console(self.environment)
        return self._console.run(textwrap.dedent(source))

    def popen(
        self,
        *arguments: str | Path,
        output: IO[str] | None = None,
        new_session: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start ``manage.py`` and return at once; all its processes are killed when the test ends.

        Args:
            arguments: the command and its arguments.
            output: a file for its output; a pipe (stdout) if None.
            new_session: start it in a separate process group that a test can send a signal to.
            environment: additional variables.
        """
        process = subprocess.Popen(
            self._command(*arguments),
            env=self.environment | dict(environment or {}),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output or subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=new_session,
        )
        self._started.append(process)
        return process

    def processes(self) -> list[psutil.Process]:
        """Return all live processes of this installation: those whose environment names its folder."""
        ours = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if process.environ().get("NOVAPROXY_DATA_DIR") == str(self.folder):
                    ours.append(process)
        return ours

    def close(self) -> None:
        """Kill every process of this installation."""
        self._close_console()
        # Repeat, because a killed process may just have started another.
        while left := self.processes():
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, timeout=5)
        for started in self._started:
            started.wait()
            if started.stdout:
                started.stdout.close()

    def _close_console(self) -> None:
        if self._console is not None:
            self._console.close()
            self._console = None

    def _command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, str(ROOT / "manage.py"), *map(str, arguments)]


class Console:
    """A Python process with Django set up that runs one source after another."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from novaproxy_site.tests.console import serve; serve()"],
            env=self.environment,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, source: str) -> str:
        """Return what `source` prints. Raises AssertionError with its traceback."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(source) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the console ended with {self._process.wait()}"
        printed, error = json.loads(line)
        assert not error, f"{printed}\n{error}"
        return str(printed)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def wait_for(
    condition: Callable[[], Any],
    *,
    seconds: float = 30,
    what: str | Callable[[], str] = "what the test waits for",
) -> Any:
    """Poll `condition` until it is true and return its value; pauses grow from 0.02 s to 0.2 s.

    Raises:
        AssertionError: it was not true within `seconds`; the message contains `what`.
    """
    deadline = time.monotonic() + seconds
    pause = 0.02
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"Not within {seconds:g} s: {what() if callable(what) else what}")
        time.sleep(pause)
        pause = min(pause * 1.3, 0.2)
    return answer

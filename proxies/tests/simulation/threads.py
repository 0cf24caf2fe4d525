"""Simulated threads for the code under test: pools, their futures, and the heartbeat."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack, nullcontext
from typing import Any
from unittest import mock

from proxies.tests.simulation import present


class Future:
    """Replacement for `concurrent.futures.Future`, for a task that runs as a simulated thread."""

    def __init__(self) -> None:
        self._state = "pending"
        self._value: Any = None
        self._error: BaseException | None = None

    def run(self, task: Callable[[], Any]) -> None:
        if self._state != "pending":
            return
        self._state = "running"
        try:
            self._value = task()
        except Exception as error:  # noqa: BLE001 - passed to the caller of `result`
            self._error = error
        finally:
            self._state = "done"

    def done(self) -> bool:
        return self._state in ("done", "cancelled")

    def running(self) -> bool:
        return self._state == "running"

    def cancelled(self) -> bool:
        return self._state == "cancelled"

    def cancel(self) -> bool:
        if self._state == "pending":
            self._state = "cancelled"
        return self._state == "cancelled"

    def result(self, timeout: float | None = None) -> Any:
        if (error := self.exception(timeout)) is not None:
            raise error
        return self._value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        if not self.done():
            present.get().block(self.done, timeout)
        if not self.done():
            raise TimeoutError
        return self._error


class Executor:
    """Replacement for ThreadPoolExecutor: each task is a simulated thread of the submitting process."""

    def __init__(self, max_workers: int | None = None, **options: Any) -> None:
        self.max_workers = max_workers

    def submit(self, task: Callable[..., Any], *arguments: Any, **options: Any) -> Future:
        process = present.process()
        assert process is not None
        future = Future()
        name = f"{process.name}.{getattr(task, '__name__', 'task')}"
        present.get().add_fiber(name, process, lambda: future.run(lambda: task(*arguments, **options)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do nothing: threads end with their tasks."""


def wait_for_futures(
    futures: Iterable[Future], timeout: float | None = None, return_when: str = "ALL_COMPLETED"
) -> tuple[set[Future], set[Future]]:
    """Replacement for `concurrent.futures.wait`."""
    given = list(futures)
    enough = any if return_when == "FIRST_COMPLETED" else all

    def is_enough() -> bool:
        return enough(future.done() for future in given)

    present.point("wait")
    if not is_enough():
        present.get().block(is_enough, timeout)
    done = {future for future in given if future.done()}
    return done, set(given) - done


class Thread:
    """Replacement for `threading.Thread`."""

    def __init__(self, target: Callable[[], Any], name: str = "thread", **options: Any) -> None:
        self._target, self._name = target, name

    def start(self) -> None:
        process = present.process()
        assert process is not None
        present.get().add_fiber(f"{process.name}.{self._name}", process, self._target)


class HeartbeatState:
    """Each process's heartbeat state, stored with the process."""

    def __getattr__(self, name: str) -> Any:
        process = present.process()
        assert process is not None
        return process.memory.setdefault(name, 0 if name == "pid" else deque())

    def __setattr__(self, name: str, value: Any) -> None:
        process = present.process()
        assert process is not None
        process.memory[name] = value


def install_before_django() -> None:
    """Replace thread pools before the code under test imports them by name."""
    import concurrent.futures

    concurrent.futures.ThreadPoolExecutor = Executor  # type: ignore[misc, assignment]
    concurrent.futures.wait = wait_for_futures  # type: ignore[assignment]


def install(patches: ExitStack) -> None:
    """Have heartbeats run in simulated threads."""
    from proxies.processes import heartbeat

    for name, value in (
        ("_State", HeartbeatState()),
        # Only one thread runs at a time; a real lock would block them all.
        ("_beating", nullcontext()),
        ("threading", mock.Mock(Thread=Thread)),
        ("INTERVAL", 20.0),
    ):
        patches.enter_context(mock.patch.object(heartbeat, name, value))

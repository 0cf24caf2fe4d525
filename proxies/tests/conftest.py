"""Fixtures shared by the tests of this app."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest

from media_files.tests.fixtures import add, everything, folders, inline, off  # noqa: F401
from proxies.rendering.resize import Resizer
from proxies.tests.driving import RunningWorker


@pytest.fixture(params=get_args(Resizer))
def resizer(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def run_worker() -> Iterator[Callable[..., RunningWorker]]:
    """Yield a function that starts workers; kill them after the test."""
    started: list[RunningWorker] = []

    def run(*args: Any, **kwargs: Any) -> RunningWorker:
        started.append(RunningWorker(*args, **kwargs))
        return started[-1]

    yield run
    for worker in started:
        worker.close()

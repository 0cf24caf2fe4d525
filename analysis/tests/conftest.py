"""Fixtures for analysis tests: the fake services, and this process's clients configured to use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from analysis import estimates
from analysis.providers import aws
from analysis.readiness import readiness
from analysis.tests import model_answers
from analysis.tests.wire import Bedrock, Rekognition, Service, served
from media_files.models import MediaFile
from media_files.tests.fixtures import add, everything, folders, inline, off  # noqa: F401


@pytest.fixture
def nova(aws_environment: Callable[[Service], None]) -> Iterator[Service]:
    """A fake Converse API that describes every picture as a lighthouse."""
    with served(Bedrock("bedrock-runtime", model_answers.nova)) as service:
        aws_environment(service)
        yield service


@pytest.fixture
def rekognition(aws_environment: Callable[[Service], None]) -> Iterator[Service]:
    """A fake Rekognition that finds the same in every picture."""
    with served(Rekognition("rekognition", model_answers.rekognition)) as service:
        aws_environment(service)
        yield service


@pytest.fixture
def aws_environment(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Callable[[Service], None]]:
    """A function that points this process's clients to a service."""
    used: list[str] = []
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)
    settings.NOVAPROXY_ANALYSIS_CALLS_PER_SECOND = 10_000.0

    def lead(service: Service) -> None:
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
        used.append(service.name)
        forget()

    yield lead
    for name in used:
        aws.client(name).close()
    forget()


@pytest.fixture
def keep(add: Callable[..., MediaFile], off: None) -> Callable[..., MediaFile]:  # noqa: F811
    """A function that stores an original whose proxy is created only on demand."""
    return add


@pytest.fixture
def tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn off the client's own retries, which would wait for seconds in between."""
    monkeypatch.setattr(aws, "ATTEMPTS", 1)


def forget() -> None:
    """Clear this process's caches of clients, credentials and estimates, as in a new process."""
    aws._client.cache_clear()
    aws._missing_setup.cache_clear()
    estimates._learned.cache_clear()
    readiness._missing, readiness._look = [], None

"""Fixtures of the tests of analyses: the services, and a client of this process that reaches them."""

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
    """Converse, which says of every picture that it is a lighthouse."""
    with served(Bedrock("bedrock-runtime", model_answers.nova)) as service:
        aws_environment(service)
        yield service


@pytest.fixture
def rekognition(aws_environment: Callable[[Service], None]) -> Iterator[Service]:
    """Rekognition, which finds the same in every picture."""
    with served(Rekognition("rekognition", model_answers.rekognition)) as service:
        aws_environment(service)
        yield service


@pytest.fixture
def aws_environment(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Callable[[Service], None]]:
    """A function that leads this process's clients to a service."""
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
    """A function that keeps an original, of which no proxy is made before it is wanted."""
    return add


@pytest.fixture
def tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are not tried again by the client itself, which would wait seconds in between."""
    monkeypatch.setattr(aws, "ATTEMPTS", 1)


def forget() -> None:
    """What this process remembers of services and answers, as if it had just begun."""
    aws._client.cache_clear()
    aws._missing_setup.cache_clear()
    estimates._learned.cache_clear()
    readiness._missing, readiness._look = [], None

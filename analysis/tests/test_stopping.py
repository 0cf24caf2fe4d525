"""A graceful stop loses no billed answer: it waits for the calls in flight and starts no others."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from analysis.tests.libraries import ask, fill, lead, start
from analysis.tests.model_answers import nova
from analysis.tests.wire import Bedrock, Service, served
from novaproxy_site.tests.installation import Installation, wait_for
from novaproxy_site.tests.servers import free_ports
from proxies.queue.supervisor import GRACE
from proxies.tests.driving import RunningWorker

IMAGES = 12
IN_FLIGHT = 4
# Longer than the grace period for work that is not billed.
SLOW = GRACE + 4.0
FAILED = 'list(Analysis.objects.filter(status="failed").values_list("error", flat=True))'
STARTED = 'Analysis.objects.filter(status="started").count()'
DONE = 'Analysis.objects.filter(status="done").count()'


@pytest.fixture
def service() -> Iterator[Service]:
    with served(Bedrock("bedrock-runtime", nova)) as service:
        yield service


def prepare(installation: Installation, service: Service) -> None:
    lead(
        installation,
        service,
        NOVAPROXY_ANALYSIS_CALLS_IN_FLIGHT=str(IN_FLIGHT),
        NOVAPROXY_ANALYSIS_CALLS_PER_SECOND="1000",
    )
    fill(installation, IMAGES)


def be_slow(service: Service, seconds: float) -> int:
    """Slow down all answers after the first; return how many were given once slow calls are in flight."""
    wait_for(lambda: service.paid, seconds=180, what="an answer")
    service.seconds = seconds
    before = service.requests
    # Two more requests than were sent when answers became slow.
    wait_for(lambda: service.requests >= before + 2, seconds=60, what="slow calls in flight")
    return len(service.paid)


def assert_nothing_lost(installation: Installation, service: Service) -> None:
    """Assert that every billed answer is stored and no call is left open."""
    assert len(service.paid) == service.requests < IMAGES
    assert ask(installation, DONE) == len(service.paid)
    assert (ask(installation, STARTED), ask(installation, FAILED)) == (0, [])


@pytest.fixture
def work(service: Service) -> Iterator[Callable[[Installation], RunningWorker]]:
    """A function that starts a batch and a worker for it."""
    workers: list[RunningWorker] = []

    def begin(installation: Installation) -> RunningWorker:
        service.seconds = 0.2
        prepare(installation, service)
        start(installation)
        workers.append(RunningWorker(installation, workers=1))
        return workers[-1]

    yield begin
    for worker in workers:
        worker.close()


@pytest.mark.every_backend
def test_a_stopped_worker_waits_for_its_answers(
    installation: Installation, service: Service, work: Callable[[Installation], RunningWorker]
) -> None:
    worker = work(installation)
    be_slow(service, SLOW)
    assert worker.stop() > GRACE
    assert worker.supervisor.returncode == 0
    assert "Waiting up to" in worker.read_output()
    # Even if the cluster on a busy machine does not end within its short grace period afterwards.
    assert_nothing_lost(installation, service)


def test_a_second_signal_kills_a_worker_at_once(
    install: Callable[..., Installation], service: Service, work: Callable[[Installation], RunningWorker]
) -> None:
    installation = install()
    worker = work(installation)
    be_slow(service, 600)
    os.kill(worker.supervisor.pid, signal.SIGTERM)
    wait_for(lambda: "Waiting up to" in worker.read_output(), what="it to say that it waits")
    time.sleep(1.1)  # so that it does not count as the same signal delivered twice
    worker.stop()
    assert "were killed" in worker.read_output()
    assert worker.processes() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "TERM"])
def test_an_interrupted_command_waits_for_its_answers(
    install: Callable[..., Installation], service: Service, number: signal.Signals
) -> None:
    installation = install()
    service.seconds = 0.2
    prepare(installation, service)
    command = run(installation)
    be_slow(service, SLOW)
    os.kill(command.pid, number)
    out, _ = command.communicate(timeout=120)
    assert command.returncode == 130, out
    assert "Waiting for answers that may be billed. Press Ctrl-C again to stop at once." in out
    assert_nothing_lost(installation, service)
    assert ask(installation, "list(Batch.objects.filter(standing=None).values_list('state', flat=True))") == [
        "paused"
    ]
    service.seconds = 0
    installation.manage("analyze_images", "--no-dry-run")
    assert len(service.paid) == IMAGES


def test_a_second_interrupt_ends_a_command_at_once(
    install: Callable[..., Installation], service: Service
) -> None:
    installation = install()
    service.seconds = 0.2
    prepare(installation, service)
    command = run(installation)
    be_slow(service, 600)
    os.kill(command.pid, signal.SIGINT)
    time.sleep(3)
    assert command.poll() is None
    os.kill(command.pid, signal.SIGINT)
    assert command.wait(60) == 130
    assert ask(installation, "list(Batch.objects.filter(standing=None).values_list('state', flat=True))") == [
        "paused"
    ]


def run(installation: Installation) -> subprocess.Popen[str]:
    return installation.popen("analyze_images", "--no-dry-run", "--workers", "1")


def test_the_all_in_one_command_waits_for_its_answers(
    install: Callable[..., Installation], service: Service, tmp_path: Path
) -> None:
    """Even though honcho kills processes that have not stopped after 5 s."""
    installation = install(NOVAPROXY_WORKERS="1")
    service.seconds = 0.2
    prepare(installation, service)
    start(installation)
    photos = tmp_path / "photos"
    photos.mkdir()
    (port,) = free_ports(1)
    with (tmp_path / "output").open("w") as output:
        running = installation.popen("run", "--photos", photos, "--port", str(port), output=output)
        be_slow(service, SLOW)
        os.killpg(running.pid, signal.SIGINT)
        assert running.wait(60) == 0
    assert_nothing_lost(installation, service)

"""One rate of calls over all workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from analysis import rates
from analysis.models import CallRate
from analysis.tests.libraries import ask, fill, lead, start
from analysis.tests.saying import nova
from analysis.tests.wire import Bedrock, served
from novaproxy_site.tests.installation import Installation
from proxies.tests.driving import RunningWorker


@pytest.mark.django_db
def test_places_are_an_interval_apart_whoever_takes_them() -> None:
    now = time.time()
    moments = [rates.reserve("nova", 10) for _ in range(20)]
    gaps = [after - before for before, after in pairwise(moments)]
    # What is made up for at the beginning is taken at once; then one every tenth of a second.
    assert gaps == pytest.approx([0.1] * 19, abs=0.05)
    assert now - rates.CATCH_UP - 0.01 <= moments[0] <= now + 0.1


@pytest.mark.django_db
def test_several_calls_take_several_places_and_providers_do_not_share_them() -> None:
    first = rates.reserve("rekognition", 10, calls=5)
    assert rates.reserve("rekognition", 10) == pytest.approx(first + 0.5, abs=0.01)
    assert rates.reserve("nova", 10) < first + 0.5


@pytest.mark.django_db
def test_a_long_silence_gives_no_burst() -> None:
    CallRate.objects.create(provider="nova", next_at=0)
    moments = [rates.reserve("nova", 100) for _ in range(100)]
    assert sum(moment <= time.time() for moment in moments) <= 100 * rates.CATCH_UP + 10


def test_two_workers_reach_the_allowed_rate_of_a_service_that_throttles_at_random(
    install: Callable[..., Installation],
) -> None:
    """Answers take a second, 20 a second are allowed, one request in twenty is refused all the same."""
    allowed, images = 20.0, 160
    workers = install()
    service = Bedrock("bedrock-runtime", nova, seconds=1.0, per_second=allowed, throttled=0.05)
    with served(service):
        lead(workers, service, NOVAPROXY_ANALYSIS_CALLS_PER_SECOND=str(allowed))
        fill(workers, images)
        worker = RunningWorker(workers, workers=2)
        try:
            batch = start(workers)
            worker.wait_for(
                lambda: len(service.answered_at) >= images * 0.9, seconds=60, what="most of the answers"
            )
        finally:
            worker.close()
    moments = sorted(service.answered_at)
    # From when both are at work (the first call of each goes alone) until what is left is too little.
    began = next(number for number, at in enumerate(moments) if at > moments[0] + 2.0)
    ended = int(images * 0.85)
    rate = (ended - began) / (moments[ended] - moments[began])
    assert rate >= 0.9 * allowed
    assert ask(workers, f"Batch.objects.get(pk={batch}).paused_reason") == ""

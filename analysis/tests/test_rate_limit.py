"""The rate limit is shared by all workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from analysis import rate_limit
from analysis.models import CallRate
from analysis.tests.libraries import ask, fill, lead, start
from analysis.tests.model_answers import nova
from analysis.tests.wire import Bedrock, served
from novaproxy_site.tests.installation import Installation
from proxies.tests.driving import RunningWorker


@pytest.mark.django_db
def test_slots_are_an_interval_apart() -> None:
    began = time.time()
    moments = [rate_limit.reserve("nova", 10) for _ in range(20)]
    assert all(after - before >= 0.0999 for before, after in pairwise(moments))
    # The first slot may make up for unused time, but only up to the limit.
    assert moments[0] >= began - rate_limit.CATCH_UP - 0.01


@pytest.mark.django_db
def test_calls_take_one_slot_each_and_providers_do_not_share_slots() -> None:
    first = rate_limit.reserve("rekognition", 10, calls=5)
    assert rate_limit.reserve("rekognition", 10) >= first + 0.499
    assert list(CallRate.objects.values_list("provider", flat=True)) == ["rekognition"]


@pytest.mark.django_db
def test_a_long_pause_causes_no_burst() -> None:
    CallRate.objects.create(provider="nova", next_at=0)
    began = time.time()
    moments = [rate_limit.reserve("nova", 100) for _ in range(100)]
    assert sum(moment <= began for moment in moments) <= 100 * rate_limit.CATCH_UP + 1


def test_two_workers_reach_the_allowed_rate_of_a_service_that_throttles_at_random(
    install: Callable[..., Installation],
) -> None:
    """Answers take 2 s, 10 calls per second are allowed, and one request in 20 is throttled anyway."""
    allowed, images = 10.0, 90
    workers = install()
    service = Bedrock("bedrock-runtime", nova, seconds=2.0, per_second=allowed, throttled=0.05)
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
    # Each worker starts with a single call, so both run at full rate only after their first answers. The
    # machine may stall for a moment, so the fastest 30 consecutive answers (three seconds' worth) count.
    together = 30
    seconds = min(after - before for before, after in zip(moments, moments[together:], strict=False))
    assert together / seconds >= 0.9 * allowed
    assert ask(workers, f"Batch.objects.get(pk={batch}).paused_reason") == ""


def test_an_upload_does_not_wait_for_all_analyses(install: Callable[..., Installation]) -> None:
    installation = install()
    service = Bedrock("bedrock-runtime", nova, seconds=0.5)
    with served(service):
        lead(installation, service, NOVAPROXY_ANALYSIS_CALLS_PER_SECOND="10")
        fill(installation, 200)
        worker = RunningWorker(installation, workers=1)
        try:
            batch = start(installation)
            worker.wait_for(lambda: len(service.paid) > 5, seconds=40, what="some answers")
            installation.shell("""
                import io
                from media_files.services import add_file
                from media_files.tests.pictures import jpeg
                add_file(io.BytesIO(jpeg()), "upload.jpg")
            """)
            made = 'MediaFile.objects.filter(proxies__isnull=False, original_name="upload.jpg").exists()'
            # Less than a tick of the analyses takes when nothing else is due.
            worker.wait_for(lambda: ask(installation, made), seconds=10, what="the upload's proxy")
            assert ask(installation, f"Batch.objects.get(pk={batch}).state") == "running"
        finally:
            worker.close()

"""kill -9 at random moments: what was paid for is not paid for again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial

import psutil

from analysis.tests.libraries import ask, fill, lead
from analysis.tests.saying import nova
from analysis.tests.wire import Bedrock, Service, served
from novaproxy_site.tests.installation import Installation, wait_for

IMAGES = 40
KILLS = 3
STARTED = 'list(Analysis.objects.filter(status="started").values_list("pk", flat=True))'


def test_paid_calls_never_exceed_images_and_those_in_flight_at_each_kill(
    install: Callable[..., Installation],
) -> None:
    chance = random.Random(11)
    installation = install()
    with served(Bedrock("bedrock-runtime", nova, seconds=0.3)) as service:
        lead(
            installation,
            service,
            NOVAPROXY_ANALYSIS_CALLS_IN_FLIGHT="4",
            NOVAPROXY_ANALYSIS_CALLS_PER_SECOND="100",
        )
        fill(installation, IMAGES)
        in_flight: set[int] = set()
        for _ in range(KILLS):
            wanted = len(service.paid) + 5
            installation.popen("analyze_images", "--no-dry-run", "--workers", "2")
            wait_for(partial(has_paid, service, wanted), what="some answers")
            time.sleep(chance.uniform(0, 0.3))
            kill(installation)
            in_flight |= set(ask(installation, STARTED))
        assert in_flight
        run = installation.manage("analyze_images", "--no-dry-run", "--workers", "2")
        assert f"created: {IMAGES}" in run.stdout
        assert IMAGES <= len(service.paid) <= IMAGES + len(in_flight)
        assert ask(installation, "MediaFile.objects.filter(analyses__is_newest=True).count()") == IMAGES
        # Of each call that was broken off a record tells so; none is left that says it goes on.
        assert ask(installation, STARTED) == []
        assert ask(installation, 'Analysis.objects.filter(error="broken_off").count()') == len(in_flight)
        paid = len(service.paid)
        installation.manage("analyze_images", "--no-dry-run")
        assert len(service.paid) == paid


def has_paid(service: Service, count: int) -> bool:
    return len(service.paid) >= count


def kill(installation: Installation) -> None:
    """kill -9 the command and its workers, and see them gone."""
    while runs := [p for p in installation.processes() if "analyze_images" in p.cmdline()]:
        for process in runs:
            process.kill()
        psutil.wait_procs(runs, timeout=5)

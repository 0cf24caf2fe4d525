"""kill -9 at random moments: answers that were paid for are not paid for again."""

from __future__ import annotations

import http.client
import random
import re
import threading
import time
from collections.abc import Callable
from functools import partial

import psutil

from analysis.tests.libraries import ask, fill, lead
from analysis.tests.model_answers import nova
from analysis.tests.wire import Bedrock, Service, served
from novaproxy_site.tests.installation import Installation, wait_for
from novaproxy_site.tests.servers import answers, free_ports

IMAGES = 40
KILLS = 3
STARTED = 'list(Analysis.objects.filter(status="started").values_list("pk", flat=True))'


def test_paid_calls_never_exceed_images_plus_those_in_flight_at_each_kill(
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
        counts = {
            outcome: int(files) for outcome, files in re.findall(r"(\w+): (\d+)$", run.stdout, re.MULTILINE)
        }
        assert counts["created"] + counts["reused"] == IMAGES
        assert IMAGES <= len(service.paid) <= IMAGES + len(in_flight)
        assert ask(installation, "MediaFile.objects.filter(analyses__is_newest=True).count()") == IMAGES
        # Each interrupted call is recorded as such, and no row is left as started.
        assert ask(installation, STARTED) == []
        assert ask(installation, 'Analysis.objects.filter(error="broken_off").count()') == len(in_flight)
        paid = len(service.paid)
        installation.manage("analyze_images", "--no-dry-run")
        assert len(service.paid) == paid


def test_the_sweeper_settles_an_api_call_whose_process_was_killed(
    install: Callable[..., Installation],
) -> None:
    installation = install()
    with served(Bedrock("bedrock-runtime", nova, seconds=60)) as service:
        lead(installation, service)
        fill(installation, 1)
        token = installation.shell("""
            from django.contrib.auth import get_user_model
            from rest_framework.authtoken.models import Token
            print(Token.objects.create(user=get_user_model().objects.create_superuser("admin")).key)
        """).strip()
        (port,) = free_ports(1)
        site = installation.popen("runserver", "--noreload", f"127.0.0.1:{port}")
        wait_for(lambda: answers(port, b"GET /healthz HTTP/1.0\r\n\r\n", b"200"), what="the site")
        caller = threading.Thread(target=analyze, args=(port, token), daemon=True)
        caller.start()
        wait_for(lambda: service.requests == 1, what="a call in flight")
        site.kill()
        site.wait()
        caller.join()
        assert len(ask(installation, STARTED)) == 1
        assert sweep(installation) == 1
        rows = 'list(Analysis.objects.values_list("status", "error"))'
        assert ask(installation, rows) == [["failed", "broken_off"]]
        assert sweep(installation) == 0
        service.seconds = 0
        assert "created: 1" in installation.manage("analyze_images", "--no-dry-run").stdout


def analyze(port: int, token: str) -> None:
    """Request an analysis of the first file, and expect the connection to break."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        connection.request("POST", "/api/files/1/analyze", headers={"Authorization": f"Token {token}"})
        connection.getresponse()
    except (ConnectionError, http.client.HTTPException):
        return
    finally:
        connection.close()
    raise AssertionError("There was an answer.")


def sweep(installation: Installation) -> int:
    """Run the sweeper like a worker does each minute; return the count from the operations' own sweeps."""
    return int(
        installation.shell("""
            from proxies.batches.sweeper import sweep
            print(sweep().others)
        """)
    )


def has_paid(service: Service, count: int) -> bool:
    return len(service.paid) >= count


def kill(installation: Installation) -> None:
    """Kill the command and its workers with SIGKILL until none is left."""
    while runs := [p for p in installation.processes() if "analyze_images" in p.cmdline()]:
        for process in runs:
            process.kill()
        psutil.wait_procs(runs, timeout=5)

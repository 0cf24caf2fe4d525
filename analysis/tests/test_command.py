"""The command `analyze_images`, run as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import call_command

from analysis.tests.libraries import fill, lead
from analysis.tests.model_answers import nova
from analysis.tests.wire import Bedrock, Refused, Service, served
from media_files.console import UsageError
from novaproxy_site.tests.installation import Installation


@pytest.fixture
def service() -> Iterator[Service]:
    with served(Bedrock("bedrock-runtime", nova)) as service:
        yield service


@pytest.fixture
def library(install: Callable[..., Installation], service: Service) -> Installation:
    """An installation with five pictures."""
    installation = install()
    lead(installation, service, NOVAPROXY_ANALYSIS_CALLS_PER_SECOND="1000")
    fill(installation, 5)
    return installation


def lines(installation: Installation, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    run = installation.manage("analyze_images", "--json", *arguments, check=False)
    assert run.returncode == code, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_a_dry_run_makes_no_call_and_shows_the_cost(library: Installation, service: Service) -> None:
    *files, last = lines(library)
    assert [line["outcome"] for line in files] == ["created"] * 5
    assert (last["dry_run"], last["batch"], last["totals"]["calls"]) == (True, None, 5)
    assert float(last["totals"]["cost"]) > 0
    spoken = library.manage("analyze_images").stdout
    assert "Expected cost: $" in spoken
    assert "230 tokens an image, whatever its size" in spoken
    assert service.requests == 0


def test_a_second_run_makes_no_calls(library: Installation, service: Service) -> None:
    *files, last = lines(library, "--no-dry-run", "--limit", "2")
    assert [line["outcome"] for line in files] == ["created"] * 2
    assert files[0]["analyses"][0]["result"]["caption"] == "A lighthouse on a rock."
    assert float(last["totals"]["cost"]) == pytest.approx(
        sum(float(line["cost"]) for line in files), abs=0.00001
    )
    *files, last = lines(library, "--no-dry-run")
    assert (last["totals"]["created"], last["totals"]["reused"]) == (3, 2)
    assert len(service.paid) == 5
    *files, last = lines(library, "--no-dry-run", "--force", "--limit", "1")
    assert (last["totals"]["replaced"], len(service.paid)) == (1, 6)


def test_failed_files_exit_with_one(library: Installation, service: Service) -> None:
    service.faults.append(Refused(400, "ValidationException", "odd"))
    *files, last = lines(library, "--no-dry-run", "--workers", "1", code=1)
    assert (last["totals"]["failed"], last["totals"]["created"]) == (1, 4)
    assert next(line["error"] for line in files if line["outcome"] == "failed") == "rejected"


def test_a_budget_stops_the_run_and_a_larger_one_resumes_it(library: Installation, service: Service) -> None:
    stopped = library.manage(
        "analyze_images", "--no-dry-run", "--workers", "1", "--max-cost", "0.0025", check=False
    )
    assert stopped.returncode == 130
    assert "budget" in stopped.stderr
    assert "--batch" not in stopped.stderr
    assert 0 < len(service.paid) < 5
    library.manage("analyze_images", "--no-dry-run", "--max-cost", "1")
    assert len(service.paid) == 5


def test_access_denied_stops_the_run_after_the_first_call(library: Installation, service: Service) -> None:
    service.faults.extend([Refused(403, "AccessDeniedException", "Not yours")] * 5)
    stopped = library.manage("analyze_images", "--no-dry-run", "--workers", "1", check=False)
    assert stopped.returncode == 2
    assert "Not yours. Check that the credentials" in stopped.stderr
    assert "Run the same command again" in stopped.stderr
    assert service.requests == 1
    service.faults.clear()
    assert "created: 5" in library.manage("analyze_images", "--no-dry-run").stdout


BAD = {
    "limit": ["--limit", "0"],
    "money": ["--max-cost", "much"],
    "more money than there is": ["--max-cost", "1e400"],
    "more money than the API takes": ["--max-cost", "100000"],
    "question": ["--provider", "rekognition", "--question", "Who?"],
    "features": ["--provider", "rekognition", "--features", "horoscope"],
    "biometrics": ["--provider", "rekognition", "--features", "faces"],
}


@pytest.mark.django_db
@pytest.mark.parametrize("case", BAD)
def test_invalid_options_are_bad_usage(case: str) -> None:
    with pytest.raises(UsageError) as refused:
        call_command("analyze_images", *BAD[case])
    assert refused.value.returncode == 2


def test_bad_usage_exits_with_two_and_without_a_traceback(install: Callable[..., Installation]) -> None:
    run = install().manage("analyze_images", "--provider", "oracle", check=False)
    assert run.returncode == 2
    assert "invalid choice: 'oracle'" in run.stderr
    assert "Traceback" not in run.stderr


def test_missing_credentials_are_reported(library: Installation, service: Service) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        library.environment.pop(name)
    assert "AWS_ACCESS_KEY_ID" in library.manage("analyze_images").stdout
    run = library.manage("analyze_images", "--no-dry-run", check=False)
    assert run.returncode == 2
    assert "NOVAPROXY_ANALYSIS_REGION" in run.stderr
    assert service.requests == 0


def test_a_custom_profile_is_used(library: Installation, service: Service) -> None:
    library.environment["NOVAPROXY_PROFILES"] = '{"tiny": {"shorter_side": 64, "longest_side": 500}}'
    *_, last = lines(library, "--no-dry-run", "--limit", "1", "--profile", "tiny")
    assert last["totals"]["created"] == 1
    assert min(service.paid[0].size) == 64

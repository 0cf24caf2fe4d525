"""The scope of a run: its preview matches what it does, regardless of the batches that earlier runs left."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.tests.libraries import ask, lead
from analysis.tests.model_answers import nova
from analysis.tests.wire import Bedrock, Service, Slow, served
from media_files.tests.fixtures import tree
from novaproxy_site.tests.installation import Installation
from proxies.outcomes import NEEDS_WORK, Outcome

# Two files that need a proxy, two that do not, a broken one, a quarantined one, and a video.
FILL: Final = """
import io
from django.conf import settings
from media_files.services import add_file
from media_files.tests.pictures import corrupt_jpeg, jpeg, mp4
from proxies.conf import conf
from proxies.models import Quarantine
settings.NOVAPROXY_ON_SAVE = "off"
conf.cache_clear()
for seed in range(2):
    add_file(io.BytesIO(jpeg(seed=seed)), f"large-{seed}.jpg")
    add_file(io.BytesIO(jpeg(200 + seed, 100)), f"small-{seed}.jpg")
add_file(io.BytesIO(corrupt_jpeg()), "broken.jpg")
add_file(io.BytesIO(mp4()), "clip.mp4")
held, _ = add_file(io.BytesIO(jpeg(seed=9)), "held.jpg")
Quarantine.objects.create(source=held, fingerprint=held.fingerprint, message="It ended three processes.")
"""
RESET: Final = """
from analysis.models import Analysis
from proxies.models import Batch, Proxy, ProxyFailure
for model in (Analysis, Batch, Proxy, ProxyFailure):
    model.objects.all().delete()
"""
LEAVE: Final = """
from media_files.models import MediaFile
from proxies.batches import lifecycle
from proxies.batches.selection import Selection
from proxies.batches.runner import perform
from proxies.batches.claim import Claim
from proxies.models import Batch
batch = lifecycle.start(
    {operation!r}, Selection(MediaFile.objects.images(), {ids!r}), {parameters!r},
    executor=Batch.Executor.LOCAL, with_settled=False,
)
claim = Claim(batch, lambda: claim.taken >= {done})
if {done}:
    perform(claim)
    claim.put_back_the_rest()
batch.refresh_from_db()
if batch.is_open:
    lifecycle.pause(batch)
"""
RUN: Final = """
import json
from media_files.tests.commands import run_command
ended = run_command({command!r}, "--json", *{options!r})
print(json.dumps([ended.code, ended.out.splitlines(), ended.err]))
"""


@pytest.fixture
def service() -> Iterator[Service]:
    with served(Bedrock("bedrock-runtime", nova)) as service:
        yield service


@pytest.fixture
def library(install: Callable[..., Installation], service: Service) -> Installation:
    installation = install()
    lead(installation, service, NOVAPROXY_ANALYSIS_CALLS_PER_SECOND="1000")
    installation.shell(FILL)
    return installation


def run(installation: Installation, command: str, *options: str) -> tuple[int, dict[str, Any], str]:
    """Run a command; return its exit code, its last line of output, and its standard error."""
    code, out, err = json.loads(installation.shell(RUN.format(command=command, options=options)))
    return code, json.loads(out[-1]) if out else {}, err


def leave(
    installation: Installation, operation: str, done: int, ids: list[int] | None = None, **parameters: Any
) -> None:
    """Create a paused batch with ``done`` of its files processed."""
    installation.shell(LEAVE.format(operation=operation, done=done, ids=ids, parameters=parameters))


def analysis(**changed: Any) -> dict[str, Any]:
    return {"force": False, "profile": "nova", "question": "", "features": [], "max_cost": None} | changed


# -- Consecutive runs -------------------------------------------------------------------------------


def test_a_limited_run_does_not_touch_an_earlier_batch(library: Installation, service: Service) -> None:
    leave(library, "analyze-nova", 1, **analysis())
    assert len(service.paid) == 1
    _, planned, reported = run(library, "analyze_images", "--limit", "1")
    assert "is not resumed. Use --resume to resume it." in reported
    assert planned["totals"]["calls"] == 1
    code, done, _ = run(library, "analyze_images", "--limit", "1", "--no-dry-run", "--workers", "2")
    assert (code, done["totals"]["created"], len(service.paid)) == (0, 1, 2)
    states = ask(library, "list(Batch.objects.order_by('pk').values_list('state', flat=True))")
    assert states == ["paused", "completed"]


def test_resume_continues_the_earlier_batch_up_to_a_limit(library: Installation, service: Service) -> None:
    leave(library, "analyze-nova", 0, **analysis(question="What is it?", max_cost="5"))
    for paid in (1, 2):
        options = ("--resume", "--limit", "1", "--workers", "2")
        _, planned, reported = run(library, "analyze_images", *options)
        assert reported.startswith("Resuming batch-analyze-nova-1, ")
        code, done, _ = run(library, "analyze_images", "--no-dry-run", *options)
        assert (code, planned["totals"]["calls"], done["batch"], len(service.paid)) == (0, 1, 1, paid)
    batch = ask(library, "list(Batch.objects.values('state', 'paused_reason', 'parameters'))")
    assert [row["state"] for row in batch] == ["paused"]
    assert batch[0]["parameters"]["max_cost"] == "5"
    run(library, "analyze_images", "--resume", "--no-dry-run", "--max-cost", "7")
    (batch,) = ask(library, "list(Batch.objects.values('state', 'parameters'))")
    assert (batch["state"], batch["parameters"]["max_cost"]) == ("completed", "7")
    questions = ask(library, "list(Analysis.objects.values_list('question', flat=True))")
    assert set(questions) == {"What is it?"}


@pytest.mark.parametrize("command", ["analyze_images", "create_image_proxies"])
def test_there_must_be_something_to_resume(library: Installation, command: str) -> None:
    code, _, reported = run(library, command, "--resume", "--no-dry-run")
    assert (code, "There is no interrupted batch to resume" in reported) == (2, True)
    operation = "analyze-nova" if command == "analyze_images" else "image-proxy"
    parameters = analysis() if command == "analyze_images" else {"force": False, "profile": "nova"}
    leave(library, operation, 0, **parameters)
    code, _, reported = run(library, command, "--resume", "--force", "--no-dry-run")
    assert (code, "with these options" in reported) == (2, True)
    code, _, reported = run(library, command, "--resume", "--queue")
    assert code == 2


def test_a_rejected_second_command_changes_nothing(library: Installation, service: Service) -> None:
    service.faults.append(Slow(120))
    first = library.popen("analyze_images", "--no-dry-run", "--workers", "1", "--max-cost", "5")
    while not service.requests:
        assert first.poll() is None
    row = "list(Batch.objects.values('parameters', 'holder', 'state'))"
    before = ask(library, row)
    for option in ([], ["--max-cost", "0.01"], ["--max-cost", "9", "--resume"]):
        code, _, reported = run(library, "analyze_images", "--no-dry-run", *option)
        assert (code, "is run by" in reported) == (2, True), reported
        assert ask(library, row) == before
    assert first.poll() is None


def test_the_same_command_again_keeps_the_budget(library: Installation, service: Service) -> None:
    leave(library, "analyze-nova", 1, **analysis(max_cost="5"))
    run(library, "analyze_images", "--no-dry-run")
    assert ask(library, "[b.parameters['max_cost'] for b in Batch.objects.all()]") == ["5"]


# -- Any options ------------------------------------------------------------------------------------


OPTIONS = st.fixed_dictionaries(
    {
        "limit": st.none() | st.integers(1, 6),
        "force": st.booleans(),
        "profile": st.sampled_from([None, "nova", "rekognition"]),
        "resume": st.booleans(),
    }
)
LEFT = st.lists(
    st.fixed_dictionaries(
        {
            "force": st.booleans(),
            "profile": st.sampled_from(["nova", "nova", "rekognition"]),
            "done": st.integers(0, 2),
            "ids": st.none() | st.lists(st.integers(1, 7), min_size=1, max_size=4),
        }
    ),
    max_size=2,
)
QUESTIONS = st.sampled_from(["", "", "Who is it?"])
# Each example starts two or three commands.
THOROUGH = settings(
    max_examples=25 if "NOVAPROXY_CHAOS_ROUNDS" in os.environ else 8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def arguments(options: dict[str, Any]) -> list[str]:
    given = []
    for name, value in options.items():
        if value not in (None, False, ""):
            given += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return given


def told_alike(planned: dict[str, Any], done: dict[str, Any]) -> None:
    """Assert that the outcomes match the preview, except for at most one file that failed in the run."""
    plan, result = planned["totals"], done["totals"]
    broke = result[Outcome.FAILED] - plan.get(Outcome.FAILED, 0)
    claim = sum(plan.get(outcome, 0) for outcome in NEEDS_WORK)
    assert 0 <= broke <= 1
    assert sum(result[outcome] for outcome in NEEDS_WORK) + broke == claim
    for outcome in (Outcome.REUSED, Outcome.SKIPPED, Outcome.QUARANTINED):
        assert plan.get(outcome, 0) == result[outcome], outcome


@THOROUGH
@given(options=OPTIONS, questions=st.tuples(QUESTIONS, QUESTIONS), left=LEFT)
def test_a_preview_of_analyses_matches_the_run(
    library: Installation,
    service: Service,
    options: dict[str, Any],
    questions: tuple[str, str],
    left: list[dict[str, Any]],
) -> None:
    library.shell(RESET)
    question, left_question = questions
    for each in left:
        wanted = analysis(force=each["force"], profile=each["profile"], question=left_question)
        leave(library, "analyze-nova", each["done"], each["ids"], **wanted)
    given_options = [*arguments(options | {"question": question}), "--workers", "1"]
    code, planned, reported = run(library, "analyze_images", *given_options)
    paid = len(service.paid)
    done_code, done, reported = run(library, "analyze_images", "--no-dry-run", *given_options)
    if code == 2:
        assert done_code == 2
        assert "to resume" in reported
        return
    told_alike(planned, done)
    broke = done["totals"][Outcome.FAILED] - planned["totals"].get(Outcome.FAILED, 0)
    assert len(service.paid) - paid == planned["totals"]["calls"] - broke
    if options["limit"] is not None:
        assert len(service.paid) - paid <= options["limit"]


@THOROUGH
@given(options=OPTIONS, left=LEFT, retry=st.booleans())
def test_a_preview_of_proxies_matches_the_run(
    library: Installation, options: dict[str, Any], left: list[dict[str, Any]], retry: bool
) -> None:
    library.shell(RESET)
    for each in left:
        wanted = {"force": each["force"], "profile": each["profile"]}
        leave(library, "image-proxy", each["done"], each["ids"], **wanted)
    given_options = [*arguments(options), "--workers", "1"]
    if retry:
        numbers = ask(library, "list(Batch.objects.values_list('pk', flat=True))")
        given_options = ["--batch", str(max(numbers, default=1)), "--retry-failed", "--workers", "1"]
    code, planned, _ = run(library, "create_image_proxies", *given_options)
    before = tree(library.folder / "media" / "proxy_image")
    done_code, done, reported = run(library, "create_image_proxies", "--no-dry-run", *given_options)
    if 2 in (code, done_code):
        assert reported
        assert tree(library.folder / "media" / "proxy_image") == before
        return
    if retry:
        # The report covers the whole batch, the preview only the retried files.
        made = done["totals"][Outcome.CREATED] + done["totals"][Outcome.REPLACED]
        assert made >= planned["totals"][Outcome.CREATED] + planned["totals"][Outcome.REPLACED] - 1
        return
    told_alike(planned, done)
    if options["limit"] is not None:
        made = done["totals"][Outcome.CREATED] + done["totals"][Outcome.REPLACED]
        assert made <= options["limit"]

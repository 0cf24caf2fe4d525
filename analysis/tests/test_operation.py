"""Batches of analyses: preview, processing, and pausing on a used-up budget or a fault of all files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import DataError, connection
from django.utils.timezone import now

from analysis import budgets, inflight, pipeline
from analysis.budgets import Grant
from analysis.models import Analysis, Spending
from analysis.options import parameters_of
from analysis.planning import AnalysisPlan
from analysis.services import AnalysisService
from analysis.tests import model_answers
from analysis.tests.conftest import forget
from analysis.tests.wire import Asked, Refused, Service
from media_files.models import MediaFile
from media_files.tests.pictures import corrupt_jpeg, jpeg, mp4
from novaproxy_site.tests.installation import wait_for
from proxies.batches import lifecycle
from proxies.batches.claim import MAX_ATTEMPTS, Claim
from proxies.batches.operations import FixedParameter
from proxies.batches.runner import perform
from proxies.batches.selection import Selection
from proxies.models import Batch, BatchItem, Proxy, ProxyFailure, Quarantine
from proxies.outcomes import Outcome
from proxies.processes.liveness import this_holder
from proxies.tests.faults import failing_sql

pytestmark = pytest.mark.django_db(transaction=True)

Keep = Callable[..., MediaFile]


@pytest.fixture(autouse=True)
def _nothing_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each test in the state of a new process."""
    monkeypatch.setattr(pipeline, "_answered", set())


def start(**parameters: Any) -> Batch:
    return lifecycle.start(
        "analyze-nova",
        Selection(MediaFile.objects.all()),
        parameters_of(**parameters),
        executor=Batch.Executor.LOCAL,
    )


def run(batch: Batch) -> Batch:
    """Run the batch like a worker, until no item is due or the batch is paused."""
    perform(Claim(batch, lambda: False))
    lifecycle.finish_if_done(batch)
    batch.refresh_from_db()
    return batch


def outcomes(batch: Batch) -> dict[str, int]:
    found: dict[str, int] = {}
    for outcome, error in batch.items.values_list("outcome", "error"):
        key = f"{outcome}:{error}" if error else outcome
        found[key] = found.get(key, 0) + 1
    return found


def test_a_batch_creates_proxies_and_analyses_every_image(nova: Service, keep: Keep) -> None:
    for seed in range(3):
        keep(seed=seed)
    keep(jpeg(300, 200))
    keep(mp4())
    batch = run(start())
    assert batch.state == Batch.State.COMPLETED
    assert outcomes(batch) == {"created": 4, "failed:not_an_image": 1}
    assert (len(nova.paid), Proxy.objects.count()) == (4, 3)
    assert set(Analysis.objects.values_list("batch", flat=True)) == {batch.pk}
    again = run(start())
    assert outcomes(again) == {"reused": 4, "failed:not_an_image": 1}
    assert len(nova.paid) == 4


def test_the_preview_estimates_the_cost(nova: Service, keep: Keep) -> None:
    for seed in range(4):
        keep(seed=seed)
    plan = lifecycle.plan("analyze-nova", Selection(MediaFile.objects.all()), parameters_of())
    assert isinstance(plan, AnalysisPlan)
    assert (plan.needs_work, plan.calls, plan.to_be_made) == (4, 4, 4)
    assert plan.cost is not None
    assert plan.most_cost is not None
    batch = run(start())
    spent = budgets.spent(batch.pk)
    # The expected cost without earlier answers is within 50 % of the actual cost.
    assert plan.cost / 2 < spent < plan.cost * 3 / 2
    assert spent < plan.most_cost
    assert spent == sum(row.cost or 0 for row in Analysis.objects.all())
    done = lifecycle.plan("analyze-nova", Selection(MediaFile.objects.all()), parameters_of())
    assert isinstance(done, AnalysisPlan)
    assert (done.needs_work, done.calls) == (0, 0)
    assert not done.cost


def test_answered_bytes_cost_nothing_in_the_preview(nova: Service, keep: Keep) -> None:
    file = keep(jpeg(300, 200))
    run(start())
    file.pk, file.content_key, file.managed = None, None, False
    file.save()
    plan = lifecycle.plan("analyze-nova", Selection(MediaFile.objects.all()), parameters_of())
    assert isinstance(plan, AnalysisPlan)
    assert (plan.outcomes[Outcome.CREATED], plan.calls, plan.calls_saved) == (1, 0, 1)
    assert outcomes(run(start())) == {"reused": 2}
    assert len(nova.paid) == 1


@pytest.mark.parametrize("force", [False, True])
def test_the_preview_counts_a_known_broken_file_as_failed_at_no_cost(
    nova: Service, keep: Keep, force: bool
) -> None:
    """Nothing can be sent, with or without ``force``."""
    keep(corrupt_jpeg())
    assert outcomes(run(start())) == {"failed:corrupt": 1}
    keep(jpeg(300, 200))
    plan = lifecycle.plan("analyze-nova", Selection(MediaFile.objects.all()), parameters_of(force=force))
    assert isinstance(plan, AnalysisPlan)
    assert (plan.outcomes, plan.calls, plan.to_be_made) == ({"created": 1, "failed": 1}, 1, 0)
    batch = start(force=force)
    item = batch.items.get(outcome=Outcome.FAILED)
    assert (item.error, item.attempts) == ("corrupt", 0)
    assert item.message == ProxyFailure.objects.get().message
    assert outcomes(run(batch)) == {"created": 1, "failed:corrupt": 1}


def test_the_preview_counts_a_picture_that_is_too_small_as_failed_at_no_cost(
    rekognition: Service, keep: Keep
) -> None:
    for size in ((300, 80), (300, 79), (79, 300)):
        keep(jpeg(*size))
    keep(mp4())
    selection = Selection(MediaFile.objects.all())
    plan = lifecycle.plan("analyze-rekognition", selection, parameters_of(features=["labels"]))
    assert isinstance(plan, AnalysisPlan)
    assert (plan.outcomes, plan.calls) == ({"created": 1, "failed": 3}, 1)
    batch = lifecycle.start("analyze-rekognition", selection, parameters_of(features=["labels"]))
    assert outcomes(batch) == {"": 1, "failed:too_small": 2, "failed:not_an_image": 1}
    reported = batch.items.filter(error="too_small").values_list("message", flat=True)
    assert all("Rekognition needs 80 px a side" in message for message in reported)


def test_many_calls_are_in_flight_after_the_first_answer(nova: Service, keep: Keep, settings: Any) -> None:
    settings.NOVAPROXY_ANALYSIS_CALLS_IN_FLIGHT = 4
    for seed in range(12):
        keep(jpeg(120 + seed, 100))

    def answer_together(asked: Any) -> Any:
        """After the first answer, wait until four calls are in flight."""
        if nova.paid:
            wait_for(lambda: nova.most_in_flight == 4, what="four calls in flight")
        return model_answers.nova(asked)

    nova.answer = answer_together
    assert outcomes(run(start())) == {"created": 12}
    assert nova.most_in_flight == 4


def test_access_denied_pauses_after_the_first_call(nova: Service, keep: Keep) -> None:
    for seed in range(8):
        keep(seed=seed)
    nova.faults.extend([Refused(403, "AccessDeniedException", "Not yours")] * 8)
    batch = run(start())
    assert (batch.state, batch.paused_code, nova.requests) == (Batch.State.PAUSED, "access_denied", 1)
    assert "Not yours" in batch.paused_reason
    assert outcomes(batch) == {"": 8}
    nova.faults.clear()
    lifecycle.resume(batch)
    assert (batch.paused_code, batch.paused_reason) == ("", "")
    assert outcomes(run(batch)) == {"created": 8}


def test_a_missing_setting_pauses_before_the_first_call(
    rekognition: Service, keep: Keep, settings: Any
) -> None:
    keep()
    settings.NOVAPROXY_ANALYSIS_BIOMETRICS = True
    batch = lifecycle.start(
        "analyze-rekognition",
        Selection(MediaFile.objects.all()),
        parameters_of(features=["faces"]),
        executor=Batch.Executor.LOCAL,
    )
    settings.NOVAPROXY_ANALYSIS_BIOMETRICS = False
    run(batch)
    assert rekognition.requests == 0
    assert (batch.state, batch.paused_code) == (Batch.State.PAUSED, "not_configured")
    assert "NOVAPROXY_ANALYSIS_BIOMETRICS" in batch.paused_reason


def test_workers_that_miss_the_same_setting_pause_the_batch_once(
    nova: Service, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(2):
        keep(seed=seed)
    batch = start()
    claims = [Claim(Batch.objects.get(pk=batch.pk), lambda: False) for _ in range(2)]
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    forget()
    for claim in claims:
        perform(claim)
    batch.refresh_from_db()
    assert (batch.state, batch.paused_code, nova.requests) == (Batch.State.PAUSED, "not_configured", 0)
    assert "AWS_ACCESS_KEY_ID" in batch.paused_reason


def test_a_removed_profile_pauses_the_batch(nova: Service, keep: Keep, settings: Any) -> None:
    keep()
    settings.NOVAPROXY_PROFILES = {"tiny": {"shorter_side": 64, "longest_side": 500}}
    batch = start(profile="tiny")
    settings.NOVAPROXY_PROFILES = {}
    run(batch)
    assert (batch.state, batch.paused_code, nova.requests) == (Batch.State.PAUSED, "not_configured", 0)
    assert "NOVAPROXY_PROFILES" in batch.paused_reason


@pytest.mark.usefixtures("tried_once")
def test_a_transient_failure_is_retried_later(nova: Service, keep: Keep) -> None:
    keep()
    nova.faults.append(Refused(429, "ThrottlingException"))
    batch = run(start())
    item = batch.items.get()
    assert (item.state, item.error, item.transient_failures) == ("queued", "throttled", 1)
    batch.items.update(available_at=item.batch.created_at)
    assert outcomes(run(batch)) == {"created": 1}


def test_a_call_claimed_by_another_process_is_retried_later(nova: Service, keep: Keep) -> None:
    service = AnalysisService()
    job = service.begin(keep())
    batch = start()
    run(batch)
    item = batch.items.get()
    assert (item.state, item.error, item.attempts, item.transient_failures) == ("queued", "busy", 0, 1)
    assert item.available_at > now()
    service.finish(job, service.carry_out(job))
    batch.items.update(available_at=now())
    assert outcomes(run(batch)) == {"reused": 1}


def test_an_unusable_answer_fails_only_its_file(nova: Service, keep: Keep) -> None:
    keep(seed=1)
    keep(seed=2)
    answers = iter([model_answers.tool_answer({}), model_answers.tool_answer(model_answers.LIGHTHOUSE)])
    nova.answer = lambda asked: next(answers)
    assert outcomes(run(start())) == {"failed:malformed_output": 1, "created": 1}


# -- Budgets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_flight", [1, 8])
def test_a_budget_is_exceeded_by_no_more_than_one_answer(
    nova: Service, keep: Keep, settings: Any, in_flight: int
) -> None:
    settings.NOVAPROXY_ANALYSIS_CALLS_IN_FLIGHT = in_flight
    nova.seconds = 0.05
    for seed in range(20):
        keep(jpeg(120 + seed, 100))
    # Answers of the maximum length, which cost much more than expected.
    nova.answer = lambda asked: model_answers.tool_answer(model_answers.LIGHTHOUSE, tokens=(800, 2000))
    budget = Decimal("0.02")
    batch = run(start(max_cost=budget))
    costs = [row.cost or Decimal(0) for row in Analysis.objects.done()]
    assert (batch.state, batch.paused_code) == (Batch.State.PAUSED, "budget")
    assert budget - max(costs) < sum(costs) <= budget + max(costs)
    assert budgets.spent(batch.pk) == sum(costs)
    # The sum in the message is exact, because it was written when no call was in flight.
    assert f"${sum(costs):.4f} was spent" in batch.paused_reason
    assert Spending.objects.get().nano_reserved == 0
    assert not Analysis.objects.filter(status="started").exists()
    paid = len(nova.paid)
    more = run(start(max_cost=Decimal(1)))
    assert outcomes(more) == {"created": 20 - paid, "reused": paid}
    assert len(nova.paid) == 20


def test_a_batch_waits_for_the_reservations_of_other_processes(nova: Service, keep: Keep) -> None:
    """A dead process's reservation is released."""
    held, _ = keep(jpeg(300, 200)), keep(jpeg(301, 200))
    batch = start(max_cost=Decimal("0.004"))
    service = AnalysisService("nova", batch_id=batch.pk)
    job = service.begin(held)
    assert service.reserve(job, Decimal("0.004")) is Grant.GRANTED
    other = service.begin(MediaFile.objects.exclude(pk=held.pk).get())
    assert service.reserve(other, Decimal("0.004")) is Grant.WAIT
    service.abandon(other)
    dead = this_holder().rsplit(":", 1)[0] + ":1"
    Analysis.objects.filter(pk=job.calls[0].row.pk).update(holder=dead)
    done = run(batch)
    assert (len(nova.paid), done.paused_code) == (2, "")
    lost = Analysis.objects.get(error="broken_off")
    assert lost.cost
    assert budgets.spent(batch.pk) == sum(row.cost or 0 for row in Analysis.objects.all())


def test_an_answer_after_its_call_was_interrupted_counts_its_actual_cost(nova: Service, keep: Keep) -> None:
    file = keep(jpeg(300, 200))
    batch = start(max_cost=Decimal(1))
    service = AnalysisService("nova", batch_id=batch.pk)
    job = service.begin(file)
    assert service.reserve(job, Decimal(1)) is Grant.GRANTED
    replies = service.carry_out(job)
    assert inflight.break_off(job.calls[0].row)
    service.finish(job, replies)
    row = Analysis.objects.get()
    assert (row.status, budgets.spent(batch.pk)) == ("done", row.cost)


def test_a_file_deleted_during_its_call_leaves_nothing_reserved(nova: Service, keep: Keep) -> None:
    file = keep(jpeg(300, 200))
    batch = start(max_cost=Decimal(1))

    def answer_late(asked: Any) -> Any:
        threading.Thread(target=delete, args=(file.pk,)).start()
        wait_for(lambda: not MediaFile.objects.exists())
        connection.close()
        return model_answers.nova(asked)

    def delete(pk: int) -> None:
        MediaFile.objects.get(pk=pk).delete()
        connection.close()

    nova.answer = answer_late
    run(batch)
    account = Spending.objects.get()
    assert (len(nova.paid), account.nano_reserved) == (1, 0)
    assert account.nano_dollars > 0


@pytest.mark.parametrize("answer", ["malformed", "cut off", "withheld"])
def test_an_unusable_answer_counts_as_spent(nova: Service, keep: Keep, answer: str) -> None:
    keep(jpeg(300, 200))
    said = model_answers.tool_answer({} if answer == "malformed" else model_answers.LIGHTHOUSE)
    if answer != "malformed":
        said["stopReason"] = "max_tokens" if answer == "cut off" else "content_filtered"
    nova.answer = lambda asked: said
    batch = run(start(max_cost=Decimal(1)))
    (row,) = Analysis.objects.all()
    assert row.status == Analysis.Status.FAILED
    assert row.cost
    assert budgets.spent(batch.pk) == row.cost


def test_a_paused_batch_resumes_with_a_larger_budget(nova: Service, keep: Keep) -> None:
    for seed in range(3):
        keep(jpeg(120 + seed, 100))
    batch = run(start(max_cost=Decimal("0.0001")))
    assert (batch.state, batch.paused_code) == (Batch.State.PAUSED, "budget")
    lifecycle.resume(batch, new_parameters={"max_cost": Decimal("0.0002")})
    assert run(batch).paused_code == "budget"
    assert "$0.0002" in batch.paused_reason
    with pytest.raises(FixedParameter, match="question"):
        lifecycle.resume(batch, new_parameters={"question": "Who is it?"})
    lifecycle.resume(batch, new_parameters={"max_cost": Decimal(1)})
    assert outcomes(run(batch)) == {"created": 3}
    assert (batch.parameters["max_cost"], batch.parameters["profile"]) == ("1", "nova")


def test_a_worker_with_the_old_budget_does_not_pause_a_resumed_batch(nova: Service, keep: Keep) -> None:
    keep()
    keep(seed=1)
    batch = start(max_cost=Decimal("0.0000001"))
    late = Claim(Batch.objects.get(pk=batch.pk), lambda: False)
    lifecycle.pause(batch)
    lifecycle.resume(batch, new_parameters={"max_cost": Decimal(9)})
    perform(late)
    batch.refresh_from_db()
    assert (batch.state, batch.items.filter(state="queued").count()) == (Batch.State.RUNNING, 2)
    # A local worker continues with the same object.
    perform(Claim(late.batch, lambda: False))
    assert outcomes(batch) == {"created": 2}


def test_a_budget_without_a_price_pauses_before_the_first_call(
    nova: Service, keep: Keep, settings: Any
) -> None:
    """Without a price, the budget would never be used up."""
    keep()
    settings.NOVAPROXY_ANALYSIS_MODEL = "eu.amazon.nova-2-lite-v1:0"
    parameters = parameters_of(max_cost=Decimal(1))
    plan = lifecycle.plan("analyze-nova", Selection(MediaFile.objects.all()), parameters)
    assert isinstance(plan, AnalysisPlan)
    assert "prices.toml" in plan.missing[0]
    batch = run(start(max_cost=Decimal(1)))
    assert (batch.state, batch.paused_code, nova.requests) == (Batch.State.PAUSED, "not_configured", 0)
    assert "eu.amazon.nova-2-lite-v1:0" in batch.paused_reason
    lifecycle.resume(batch, new_parameters={"max_cost": None})
    run(batch)
    assert nova.requests == 1


def test_a_budget_below_one_call_makes_no_call(nova: Service, keep: Keep) -> None:
    keep()
    batch = run(start(max_cost=Decimal("0.000001")))
    assert (batch.state, nova.requests) == (Batch.State.PAUSED, 0)


def test_the_default_budget_applies_to_every_batch(nova: Service, keep: Keep, settings: Any) -> None:
    keep()
    settings.NOVAPROXY_ANALYSIS_BUDGET = Decimal("0.000001")
    assert run(start()).state == Batch.State.PAUSED


@pytest.mark.parametrize(
    ("words", "names_it"),
    [
        ('INSERT INTO "analysis_analysis"', "fingerprint"),
        ('UPDATE "analysis_analysis" SET "is_newest"', "pk"),
    ],
    ids=["before the call", "when the answer is recorded"],
)
def test_an_unexpected_exception_counts_and_quarantines_its_file(
    nova: Service, keep: Keep, words: str, names_it: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its call, and when its answer is recorded: the call is not repeated and billed forever."""
    monkeypatch.setattr(
        "proxies.batches.claim._FIRST_DELAY", 3600.0
    )  # must not pass before a slow machine has checked
    *_, victim = [keep(seed=seed) for seed in range(3)]
    batch = start()
    with failing_sql(DataError("no such value"), words, parameter=getattr(victim, names_it)):
        for attempt in range(1, MAX_ATTEMPTS + 1):
            batch.items.filter(state="queued").update(available_at=batch.created_at)
            perform(Claim(batch, lambda: False))
            item = batch.items.get(file=victim)
            assert item.attempts == attempt
            assert not batch.items.claimable(item.recipe).exists()
    assert outcomes(run(batch)) == {"created": 2, "quarantined:quarantined": 1}
    assert not Analysis.objects.started().exists()
    held = Quarantine.objects.get()
    assert (held.source, held.operation) == (victim, "analyze-nova")
    assert "analyze-nova failed on this file 3 times" in held.message


def test_waiting_for_an_answer_does_not_count_as_an_attempt(nova: Service, keep: Keep) -> None:
    """If the process is killed meanwhile, the file is not to blame: its proxy already exists."""
    keep()
    batch, charges = start(), []

    def answer(asked: Asked) -> dict[str, Any]:
        charges.append(BatchItem.objects.filter(batch=batch, attempts__gt=0).count())
        connection.close()  # of the server's thread
        return model_answers.nova(asked)

    nova.answer = answer
    run(batch)
    assert charges == [0]

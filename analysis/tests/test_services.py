"""Storing, reusing and dropping analyses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils.timezone import now

from analysis.errors import AnalysisBusy, ProviderUnavailable
from analysis.models import Analysis
from analysis.payload import choose_picture
from analysis.providers.base import Options
from analysis.services import AnalysisService
from analysis.tests.wire import Refused, Service
from media_files.errors import SourceMissing
from media_files.models import MediaFile
from media_files.tests.pictures import jpeg
from proxies.batches.sweeper import sweep
from proxies.outcomes import Outcome
from proxies.processes.liveness import this_holder

Keep = Callable[..., MediaFile]


def test_repeating_an_analysis_costs_nothing(nova: Service, keep: Keep) -> None:
    file = keep()
    first = AnalysisService().analyze(file)
    again = AnalysisService().analyze(file)
    assert (again.outcome, again.analyses) == (Outcome.REUSED, first.analyses)
    assert (nova.requests, Analysis.objects.count()) == (1, 1)


def test_an_answer_is_reused_for_another_file_with_the_same_bytes(nova: Service, keep: Keep) -> None:
    file = keep(jpeg(300, 200))
    AnalysisService().analyze(file)
    twin = MediaFile.objects.get(pk=file.pk)
    twin.pk, twin.content_key, twin.managed = None, None, False
    twin.save()
    result = AnalysisService().analyze(twin)
    assert (result.outcome, nova.requests) == (Outcome.REUSED, 1)
    (row,) = result.analyses
    assert (row.file_id, row.result["caption"]) == (twin.pk, "A lighthouse on a rock.")
    assert not row.cost
    assert row.reused_from is not None
    assert row.label_rows.count() == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NOVAPROXY_ANALYSIS_MODEL", "us.amazon.nova-lite-v1:0"),
        ("NOVAPROXY_ANALYSIS_MAX_TOKENS", 500),
        ("NOVAPROXY_ANALYSIS_REASONING", "low"),
    ],
)
def test_changed_settings_make_a_new_call(
    nova: Service, keep: Keep, settings: Any, name: str, value: object
) -> None:
    file = keep()
    AnalysisService().analyze(file)
    setattr(settings, name, value)
    assert AnalysisService().analyze(file).outcome == Outcome.REPLACED
    assert nova.requests == 2


def test_a_free_question_does_not_replace_the_description(nova: Service, keep: Keep) -> None:
    file = keep()
    AnalysisService().analyze(file)
    AnalysisService(options=Options(question="What is it?")).analyze(file)
    assert Analysis.objects.of_today().count() == 2


def test_history_is_kept_and_the_newest_is_marked(nova: Service, keep: Keep) -> None:
    file = keep()
    for _ in range(3):
        AnalysisService(force=True).analyze(file)
    rows = Analysis.objects.filter(file=file)
    assert [row.is_newest for row in rows] == [True, False, False]


def test_the_row_is_written_before_the_call(nova: Service, keep: Keep) -> None:
    service = AnalysisService()
    job = service.begin(keep())
    row = Analysis.objects.get()
    assert (row.status, row.holder, nova.requests) == ("started", this_holder(), 0)
    service.abandon(job)
    assert not Analysis.objects.exists()


def test_the_same_call_is_not_made_twice_at_once(nova: Service, keep: Keep) -> None:
    file = keep()
    service = AnalysisService()
    job = service.begin(file)
    with pytest.raises(AnalysisBusy):
        AnalysisService().begin(file)
    service.finish(job, service.carry_out(job))
    assert AnalysisService().analyze(file).outcome == Outcome.REUSED


def test_an_answer_that_arrives_just_before_the_claim_is_reused(nova: Service, keep: Keep) -> None:
    file = keep()
    others: list[AnalysisService] = [AnalysisService()]

    def be_overtaken(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if sql.startswith('INSERT INTO "analysis_analysis"') and others:
            others.pop().analyze(file)
        return execute(sql, *rest)

    with connection.execute_wrapper(be_overtaken):
        assert AnalysisService().analyze(file).outcome == Outcome.REUSED
    assert (nova.requests, Analysis.objects.count()) == (1, 1)


def test_the_call_of_a_dead_process_is_recorded_and_repeated(nova: Service, keep: Keep) -> None:
    file = keep()
    AnalysisService().begin(file)
    Analysis.objects.update(holder=this_holder() + "1")
    assert AnalysisService().analyze(file).error is None
    assert list(Analysis.objects.values_list("status", "error")) == [("done", ""), ("failed", "broken_off")]


def test_a_call_on_another_machine_is_trusted_until_its_deadline(nova: Service, keep: Keep) -> None:
    file = keep()
    AnalysisService().begin(file)
    Analysis.objects.update(holder="another-machine:1:1.00")
    with pytest.raises(AnalysisBusy):
        AnalysisService().analyze(file)
    assert sweep().others == 0
    Analysis.objects.update(until=file.created_at)
    assert AnalysisService().analyze(file).error is None


def test_the_sweeper_settles_calls_that_are_not_repeated(nova: Service, keep: Keep) -> None:
    AnalysisService().begin(keep())
    assert sweep().others == 0  # we are alive
    Analysis.objects.update(holder="another-machine:1:1.00", until=now())
    assert sweep().others == 1
    assert list(Analysis.objects.values_list("status", "error")) == [("failed", "broken_off")]


def test_a_claim_outlasts_the_longest_answer(nova: Service, keep: Keep, settings: Any) -> None:
    settings.NOVAPROXY_ANALYSIS_TIMEOUT = 3600
    AnalysisService().begin(keep())
    until = Analysis.objects.get().until
    assert until is not None
    assert until > now() + timedelta(hours=4)


@pytest.mark.django_db(transaction=True)
def test_a_file_deleted_before_the_row_is_written_is_busy(nova: Service, keep: Keep) -> None:
    """The database rejects the row on commit; the next attempt reports that the file was deleted."""
    file = keep()
    picture = choose_picture(file, "nova")
    service = AnalysisService()
    MediaFile.objects.all().delete()
    with pytest.raises(AnalysisBusy, match="replaced or deleted"):
        service._claim(picture, service.requests[0])
    with pytest.raises(SourceMissing):
        service.begin(file)


def test_a_failure_is_kept_and_retried(nova: Service, keep: Keep) -> None:
    file = keep()
    nova.faults.append(Refused(400, "ValidationException", "odd"))
    assert AnalysisService().analyze(file).outcome == Outcome.FAILED
    assert AnalysisService().analyze(file).outcome == Outcome.CREATED
    assert Analysis.objects.filter(status="failed").count() == 1


@pytest.mark.usefixtures("tried_once")
def test_an_unavailable_service_is_a_transient_failure(nova: Service, keep: Keep) -> None:
    nova.faults.append(Refused(503, "ServiceUnavailableException"))
    assert isinstance(AnalysisService().analyze(keep()).error, ProviderUnavailable)


def test_a_file_deleted_during_its_call_leaves_no_answer(nova: Service, keep: Keep) -> None:
    service = AnalysisService()
    job = service.begin(keep())
    replies = service.carry_out(job)
    MediaFile.objects.all().delete()
    with pytest.raises(SourceMissing):
        service.finish(job, replies)
    assert not Analysis.objects.exists()

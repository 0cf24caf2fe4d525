"""Analyses via the REST API; each response is validated against the schema."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import F

from analysis import budgets
from analysis.models import Analysis, DaySpending
from analysis.options import parameters_of
from analysis.readiness import readiness
from analysis.services import AnalysisService
from analysis.tests import model_answers
from analysis.tests.conftest import forget
from analysis.tests.wire import Refused, Service
from media_files.models import MediaFile
from media_files.tests.pictures import encoded, jpeg, mp4
from novaproxy_site.tests.api_client import Api, api_with
from proxies.batches import lifecycle
from proxies.batches.claim import Claim
from proxies.batches.runner import perform
from proxies.batches.selection import Selection
from proxies.models import Batch

pytestmark = pytest.mark.django_db

Keep = Callable[..., MediaFile]
PERMISSIONS = ("media_files.view_mediafile", "analysis.add_analysis", "proxies.view_batch")


@pytest.fixture
def api(db: None) -> Api:
    return api_with(*PERMISSIONS)


def test_a_file_is_analysed_once_and_then_reused(api: Api, nova: Service, keep: Keep) -> None:
    file = keep()
    first = api.send(f"/api/files/{file.pk}/analyze")
    assert first.status_code == 201
    body = first.json()
    assert body["outcome"] == "created"
    assert body["analyses"][0]["result"]["caption"] == model_answers.LIGHTHOUSE["caption"]
    again = api.send(f"/api/files/{file.pk}/analyze")
    assert (again.status_code, again.json()["outcome"]) == (200, "reused")
    forced = api.send(f"/api/files/{file.pk}/analyze", {"force": True})
    assert (forced.status_code, forced.json()["outcome"]) == (201, "replaced")
    assert len(nova.paid) == 2
    history = api.get(f"/api/files/{file.pk}/analyses").json()["results"]
    assert [row["is_newest"] for row in history] == [True, False]


def test_rekognition_is_called_with_the_requested_features(
    api: Api, rekognition: Service, keep: Keep
) -> None:
    body = {"provider": "rekognition", "features": ["moderation"], "profile": "rekognition"}
    response = api.send(f"/api/files/{keep().pk}/analyze", body)
    assert response.status_code == 201
    assert [asked.operation for asked in rekognition.paid] == ["DetectModerationLabels"]


BAD_BODIES = {
    "provider": {"provider": "oracle"},
    "profile": {"profile": "moon"},
    "features": {"features": ["labels"]},
    "question": {"provider": "rekognition", "question": "Who?"},
    "force": {"force": "perhaps"},
    "fast": {"fast": True},
}


@pytest.mark.parametrize("field", BAD_BODIES)
def test_a_bad_body_names_its_field(api: Api, keep: Keep, field: str) -> None:
    response = api.send(f"/api/files/{keep().pk}/analyze", BAD_BODIES[field])
    assert response.status_code == 400
    assert list(response.json()) == [field]


FAULTS = {
    "throttled": (Refused(429, "ThrottlingException"), 503),
    "access_denied": (Refused(403, "AccessDeniedException"), 409),
    "rejected": (Refused(400, "ValidationException", "odd"), 422),
}


@pytest.mark.usefixtures("tried_once")
@pytest.mark.parametrize("code", FAULTS)
def test_a_failure_is_reported_by_its_code(api: Api, nova: Service, keep: Keep, code: str) -> None:
    fault, status = FAULTS[code]
    nova.faults.append(fault)
    file = keep()
    response = api.send(f"/api/files/{file.pk}/analyze")
    assert (response.status_code, response.json()["error"]) == (status, code)
    assert ("Retry-After" in response.headers) == (status == 503)
    assert api.get(f"/api/files/{file.pk}/analyses").json()["results"][0]["error"] == code


def test_missing_settings_are_reported(
    api: Api, nova: Service, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    forget()
    readiness.missing(patience=60)  # enough even on a busy machine
    file = keep()
    response = api.send(f"/api/files/{file.pk}/analyze")
    assert (response.status_code, response.json()["error"]) == (409, "not_configured")
    assert "AWS_ACCESS_KEY_ID" in response.json()["message"]
    plan = api.send("/api/batch/analyze", {"file_ids": [file.pk], "dry_run": True}).json()["plan"]
    assert "AWS_ACCESS_KEY_ID" in plan["missing"][0]


def test_a_video_is_not_analysed(api: Api, nova: Service, keep: Keep) -> None:
    response = api.send(f"/api/files/{keep(mp4()).pk}/analyze")
    assert (response.status_code, response.json()["error"]) == (422, "not_an_image")


@pytest.mark.parametrize(
    ("method", "path", "permission"),
    [
        ("post", "/api/files/{id}/analyze", "analysis.add_analysis"),
        ("post", "/api/batch/analyze", "analysis.add_analysis"),
        ("get", "/api/files/{id}/analyses", "media_files.view_mediafile"),
    ],
)
def test_each_endpoint_requires_its_permission(keep: Keep, method: str, path: str, permission: str) -> None:
    others = {*PERMISSIONS, "proxies.change_batch", "proxies.add_proxy"} - {permission}
    address = path.format(id=keep().pk)
    assert getattr(api_with(*others), method)(address).status_code == 403
    assert getattr(Api(), method)(address).status_code == 401


# -- Batches ---------------------------------------------------------------------------------------


def test_a_batch_is_previewed_with_its_cost_and_then_started(api: Api, nova: Service, keep: Keep) -> None:
    ids = [keep(seed=seed).pk for seed in range(3)]
    body = {"file_ids": ids, "max_cost": "0.5"}
    planned = api.send("/api/batch/analyze", {**body, "dry_run": True})
    assert planned.status_code == 200
    plan = planned.json()["plan"]
    assert (plan["created"], plan["calls"], plan["proxies_to_make"]) == (3, 3, 3)
    assert 0 < float(plan["cost"]) < float(plan["cost_at_most"])
    assert plan["budget"] == "0.5000"
    assert not Batch.objects.filter(standing=None).exists()
    started = api.send("/api/batch/analyze", body)
    assert started.status_code == 202
    assert started.json()["job_id"].startswith("batch-analyze-nova-")
    batch = Batch.objects.get(standing=None)
    assert batch.parameters["max_cost"] == "0.5000"
    assert api.get(f"/api/batch/{batch.job_id}").json()["operation"] == "analyze-nova"


def test_a_batch_accepts_the_search_filters(api: Api, nova: Service, keep: Keep) -> None:
    found, _ = keep(seed=1), keep(seed=2)
    api.send(f"/api/files/{found.pk}/analyze")
    body = {"filter": {"label": "lighthouse"}, "dry_run": True, "force": True}
    assert api.send("/api/batch/analyze", body).json()["total_files"] == 1


@pytest.mark.parametrize(
    ("feature", "setting"),
    [("faces", "NOVAPROXY_ANALYSIS_BIOMETRICS"), ("custom-labels", "NOVAPROXY_ANALYSIS_CUSTOM_MODELS")],
)
def test_a_batch_with_a_disabled_feature_names_the_setting(
    api: Api, rekognition: Service, keep: Keep, feature: str, setting: str
) -> None:
    body = {"file_ids": [keep().pk], "provider": "rekognition", "features": [feature]}
    for dry_run in (True, False):
        response = api.send("/api/batch/analyze", {**body, "dry_run": dry_run})
        assert (response.status_code, response.json()["error"]) == (409, "not_configured")
        assert setting in response.json()["message"]
    assert not Batch.objects.filter(standing=None).exists()


def test_a_batch_that_would_pause_at_once_is_not_started(
    api: Api, nova: Service, keep: Keep, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"file_ids": [keep().pk], "max_cost": "1"}
    settings.NOVAPROXY_ANALYSIS_MODEL = "eu.amazon.nova-2-lite-v1:0"
    unpriced = api.send("/api/batch/analyze", body)
    assert (unpriced.status_code, unpriced.json()["error"]) == (409, "not_configured")
    assert "prices.toml" in unpriced.json()["message"]
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    forget()
    readiness.missing(patience=60)  # enough even on a busy machine
    nobody = api.send("/api/batch/analyze", {"file_ids": body["file_ids"]})
    assert (nobody.status_code, nobody.json()["error"]) == (409, "not_configured")
    assert "AWS_ACCESS_KEY_ID" in nobody.json()["message"]
    assert not Batch.objects.filter(standing=None).exists()


@pytest.fixture
def paused(nova: Service, keep: Keep) -> Batch:
    """A batch paused because its budget is used up."""
    keep()
    batch = lifecycle.start(
        "analyze-nova", Selection(MediaFile.objects.all()), parameters_of(max_cost=Decimal("0.0001"))
    )
    lifecycle.pause(batch, reason="The budget is used up.", code="budget")
    return batch


@pytest.mark.parametrize(
    ("body", "budget"),
    [({"max_cost": "2.5"}, "2.5000"), ({"max_cost": None}, None), ({}, "0.0001")],
    ids=["new", "default", "unchanged"],
)
def test_a_batch_resumes_with_the_given_budget(
    paused: Batch, body: dict[str, object], budget: str | None
) -> None:
    api = api_with("proxies.view_batch", "proxies.change_batch")
    assert api.get(f"/api/batch/{paused.pk}").json()["paused_code"] == "budget"
    reported = api.send(f"/api/batch/{paused.pk}/resume", body)
    assert reported.status_code == 200
    assert (reported.json()["state"], reported.json()["paused_code"]) == ("running", "")
    assert reported.json()["parameters"]["max_cost"] == budget
    assert api.send(f"/api/batch/{paused.pk}/resume", body).status_code == 409


@pytest.mark.parametrize("body", [{"max_cost": "much"}, {"max_cost": -1}, {"budget": 1}])
def test_an_invalid_budget_leaves_the_batch_paused(paused: Batch, body: dict[str, object]) -> None:
    reported = api_with("proxies.change_batch").send(f"/api/batch/{paused.pk}/resume", body)
    assert (reported.status_code, list(reported.json())) == (400, list(body))
    paused.refresh_from_db()
    assert paused.state == "paused"


def test_a_batch_of_proxies_has_no_budget(keep: Keep) -> None:
    keep()
    batch = lifecycle.start("image-proxy", Selection(MediaFile.objects.all()), {"profile": "nova"})
    lifecycle.pause(batch)
    reported = api_with("proxies.change_batch").send(f"/api/batch/{batch.pk}/resume", {"max_cost": 1})
    assert (reported.status_code, list(reported.json())) == (400, ["max_cost"])


# -- Search ----------------------------------------------------------------------------------------


@pytest.fixture
def described(api: Api, nova: Service, keep: Keep) -> dict[str, int]:
    """Two files that models describe differently."""
    lighthouse, dog = keep(seed=1), keep(jpeg(300, 200))
    api.send(f"/api/files/{lighthouse.pk}/analyze")
    said = {**model_answers.LIGHTHOUSE, "caption": "A dog runs.", "text": [], "objects": []}
    nova.answer = lambda asked: model_answers.tool_answer({**said, "labels": [{"name": "Dog"}]})
    api.send(f"/api/files/{dog.pk}/analyze")
    keep(encoded("PNG", 90, 90))
    return {"lighthouse": lighthouse.pk, "dog": dog.pk}


def found(api: Api, query: str) -> list[int]:
    return [row["id"] for row in api.get(f"/api/files?{query}").json()["results"]]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("label=Lighthouse", ["lighthouse"]),
        ("label=tower", ["lighthouse"]),
        ("label=light", []),
        ("q=dog", ["dog"]),
        ("q=KEEP+out", ["lighthouse"]),
        ("q=rock+lighthouse", ["lighthouse"]),
        ("q=dog+lighthouse", []),
        ("label=dog&q=runs", ["dog"]),
        ("q=%25", []),
    ],
)
def test_files_are_found_by_their_answers(
    api: Api, described: dict[str, int], query: str, names: list[str]
) -> None:
    assert found(api, query) == [described[name] for name in names]


def test_outdated_answers_are_not_found(api: Api, nova: Service, described: dict[str, int]) -> None:
    api.send(f"/api/files/{described['lighthouse']}/analyze", {"force": True})
    assert found(api, "label=lighthouse") == []
    MediaFile.objects.filter(pk=described["dog"]).update(fingerprint="another")
    assert found(api, "q=dog") == [described["lighthouse"]]
    assert Analysis.objects.done().count() == 3


def test_a_batch_shows_its_spending_including_unusable_answers(api: Api, nova: Service, keep: Keep) -> None:
    keep(jpeg(300, 200))
    batch = lifecycle.start("analyze-nova", Selection(MediaFile.objects.all()), parameters_of())
    url = f"/api/batch/{batch.pk}"
    assert api.get(url).json()["spent"] == "0.000000"
    nova.answer = lambda asked: model_answers.tool_answer({})
    perform(Claim(batch, lambda: False))
    (row,) = Analysis.objects.all()
    assert row.error == "malformed_output"
    assert row.cost
    for address in (url, f"{url}/status"):
        assert Decimal(api.get(address).json()["spent"]) == pytest.approx(row.cost, abs=Decimal("0.000001"))
    (listed,) = api.get("/api/batch").json()["results"]
    assert listed["spent"] == api.get(url).json()["spent"]
    free = lifecycle.start("image-proxy", Selection(MediaFile.objects.all()), {})
    assert api.get(f"/api/batch/{free.pk}").json()["spent"] is None


def test_single_requests_have_a_daily_budget(api: Api, nova: Service, keep: Keep, settings: Any) -> None:
    settings.NOVAPROXY_ANALYSIS_DAILY_BUDGET = Decimal("0.0021")
    files = [keep(jpeg(300 + number, 200)) for number in range(4)]
    codes = [api.send(f"/api/files/{file.pk}/analyze").status_code for file in files]
    assert codes == [201, 201, 409, 409]
    spent = sum(row.cost or 0 for row in Analysis.objects.all())
    refused = api.send(f"/api/files/{files[3].pk}/analyze")
    assert refused.json()["error"] == "budget"
    assert f"${spent:.4f} today" in refused.json()["message"]
    assert not Analysis.objects.filter(status="started").exists()
    # Existing answers cost nothing, and the next day has a new budget.
    assert api.send(f"/api/files/{files[0].pk}/analyze").status_code == 200
    DaySpending.objects.update(day=F("day") - timedelta(days=1))
    assert api.send(f"/api/files/{files[2].pk}/analyze").status_code == 201


def test_a_request_in_flight_reserves_the_rest_of_the_daily_budget(
    api: Api, nova: Service, keep: Keep, settings: Any
) -> None:
    settings.NOVAPROXY_ANALYSIS_DAILY_BUDGET = Decimal("0.002")
    first, second = keep(jpeg(300, 200)), keep(jpeg(301, 200))
    service = AnalysisService("nova")
    job = service.begin(first)
    budgets.reserve_for_today([(call.row, call.most) for call in job.calls])
    busy = api.send(f"/api/files/{second.pk}/analyze")
    assert (busy.status_code, busy.json()["error"]) == (503, "busy")
    service.abandon(job)
    assert api.send(f"/api/files/{second.pk}/analyze").status_code == 201


def test_a_daily_budget_needs_a_price(api: Api, nova: Service, keep: Keep, settings: Any) -> None:
    settings.NOVAPROXY_ANALYSIS_DAILY_BUDGET = Decimal(1)
    settings.NOVAPROXY_ANALYSIS_MODEL = "eu.amazon.nova-2-lite-v1:0"
    refused = api.send(f"/api/files/{keep(jpeg(300, 200)).pk}/analyze")
    assert (refused.status_code, refused.json()["error"], nova.requests) == (409, "not_configured", 0)

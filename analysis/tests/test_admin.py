"""Analyses in the admin."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from analysis.models import Analysis
from analysis.providers.base import Options
from analysis.readiness import readiness
from analysis.services import AnalysisService
from analysis.tests import model_answers
from analysis.tests.conftest import forget
from analysis.tests.wire import Refused, Service
from media_files.models import MediaFile
from media_files.tests.pictures import jpeg
from novaproxy_site.tests.admin_pages import staff_with, text_of
from proxies.batches import lifecycle
from proxies.models import Batch

pytestmark = pytest.mark.django_db

Keep = Callable[..., MediaFile]
OPERATION = "/admin/media_files/mediafile/operation/analyze-nova/"
LIST = "/admin/analysis/analysis/"
SCRIPT = "<script>alert('model')</script>"


@pytest.fixture
def analysed(nova: Service, keep: Keep) -> Analysis:
    return AnalysisService().analyze(keep()).analyses[0]


def test_the_page_shows_the_answer_and_its_boxes(admin_client: Client, analysed: Analysis) -> None:
    response = admin_client.get(f"{LIST}{analysed.pk}/change/")
    page = response.content.decode()
    assert '<rect x="25.000%" y="10.000%" width="25.000%" height="80.000%"><title>Tower</title>' in page
    assert '<rect x="10.000%" y="80.000%" width="20.000%" height="5.000%"><title>KEEP OUT</title>' in page
    text = text_of(response)
    assert "A lighthouse on a rock." in text
    assert "Objects (1)" in text
    assert "Text (1)" in text
    assert "proxy, 996" in text
    assert "1,500 in, 200 out" in text
    assert "toolUseId" in text


def test_model_output_is_escaped(admin_client: Client, nova: Service, keep: Keep) -> None:
    box = {"x1": 0, "y1": 0, "x2": 10, "y2": 10}
    nova.answer = lambda asked: model_answers.tool_answer(
        {
            "caption": SCRIPT,
            "labels": [{"name": SCRIPT}],
            "text": [{"text": SCRIPT, "box": box}],
            "objects": [{"name": SCRIPT, "box": box}],
            "safety": [{"name": SCRIPT}],
        }
    )
    file = keep()
    (row,) = AnalysisService().analyze(file).analyses
    nova.answer = lambda asked: model_answers.converse_answer([{"text": SCRIPT}])
    (answer,) = AnalysisService(options=Options(question=SCRIPT)).analyze(file).analyses
    pages = [
        LIST,
        f"{LIST}{row.pk}/change/",
        f"{LIST}{answer.pk}/change/",
        f"/admin/media_files/mediafile/{file.pk}/change/",
    ]
    for address in pages:
        page = admin_client.get(address).content.decode()
        assert SCRIPT not in page, address
        assert "&lt;script&gt;" in page, address


def test_a_failure_shows_its_error_and_the_raw_answer(
    admin_client: Client, nova: Service, keep: Keep
) -> None:
    nova.answer = lambda asked: model_answers.converse_answer([{"text": "I see"}], stop="max_tokens")
    (row,) = AnalysisService().analyze(keep()).analyses
    text = text_of(admin_client.get(f"{LIST}{row.pk}/change/"))
    assert "NOVAPROXY_ANALYSIS_MAX_TOKENS" in text
    assert "I see" in text
    assert "max tokens" in text_of(admin_client.get(LIST))


def test_the_page_warns_if_the_file_was_replaced_since(admin_client: Client, analysed: Analysis) -> None:
    MediaFile.objects.update(fingerprint="another")
    assert "was replaced after this analysis" in text_of(admin_client.get(f"{LIST}{analysed.pk}/change/"))


@pytest.mark.parametrize("search", ["lighthouse", "Tower", "keep out", "rock"])
def test_files_are_found_by_their_answers(
    admin_client: Client, analysed: Analysis, keep: Keep, search: str
) -> None:
    other = keep(jpeg(300, 200), "lamp.jpg")
    listed = admin_client.get("/admin/media_files/mediafile/", {"q": search}).context["cl"].queryset
    assert [file.pk for file in listed] == [analysed.file_id]
    named = admin_client.get("/admin/media_files/mediafile/", {"q": "lamp"}).context["cl"].queryset
    assert [file.pk for file in named] == [other.pk]


# -- The operation ---------------------------------------------------------------------------------


def test_the_preview_shows_the_cost_and_start_creates_a_batch(
    admin_client: Client, nova: Service, keep: Keep
) -> None:
    for seed in range(3):
        keep(seed=seed)
    text = text_of(admin_client.get(f"{OPERATION}?filter="))
    assert "Billed calls 3" in text
    assert "about $0.00" in text
    assert "at most $0.0" in text
    assert "230 tokens an image, whatever its size" in text
    response = admin_client.post(f"{OPERATION}?filter=", {"profile": "rekognition", "max_cost": "0.5"})
    batch = Batch.objects.get(operation="analyze-nova")
    assert response.status_code == 302
    assert (batch.parameters["profile"], batch.parameters["max_cost"]) == ("rekognition", "0.5")


def test_an_invalid_budget_starts_nothing(admin_client: Client, nova: Service, keep: Keep) -> None:
    keep()
    response = admin_client.post(f"{OPERATION}?filter=", {"max_cost": "much"})
    assert "Enter a number" in text_of(response)
    assert not Batch.objects.filter(operation="analyze-nova").exists()


def test_a_paused_batch_resumes_with_a_new_budget(admin_client: Client, nova: Service, keep: Keep) -> None:
    keep()
    admin_client.post(f"{OPERATION}?filter=", {"max_cost": "0.0001"})
    batch = Batch.objects.get(operation="analyze-nova")
    lifecycle.pause(batch, reason="The budget is used up.", code="budget")
    page = f"/admin/proxies/batch/{batch.pk}/"
    shown = admin_client.get(f"{page}change/")
    assert 'name="max_cost" value="0.0001"' in shown.content.decode()
    assert "Billed calls 1" in text_of(shown)
    refused = admin_client.post(f"{page}resume/now/", {"max_cost": "much"}, follow=True)
    assert "Budget: Enter a number" in text_of(refused)
    batch.refresh_from_db()
    assert batch.state == "paused"
    admin_client.post(f"{page}resume/now/", {"max_cost": "2.5"})
    batch.refresh_from_db()
    assert (batch.state, batch.parameters["max_cost"]) == ("running", "2.5")
    # A form without the field, such as from an outdated page, leaves the budget unchanged.
    lifecycle.pause(batch)
    admin_client.post(f"{page}resume/now/")
    batch.refresh_from_db()
    assert (batch.state, batch.parameters["max_cost"]) == ("running", "2.5")


def test_the_admin_lists_missing_settings_without_credentials(
    admin_client: Client, nova: Service, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    forget()
    readiness.missing(patience=60)  # enough even on a busy machine
    keep()
    for address in (LIST, f"{OPERATION}?filter="):
        text = text_of(admin_client.get(address))
        assert "NOVAPROXY_ANALYSIS_REGION" in text
        assert "AWS_ACCESS_KEY_ID" in text
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    forget()


def test_analysis_is_not_offered_without_permission(analysed: Analysis) -> None:
    client = staff_with("media_files.view_mediafile")
    assert "Analyze (Nova)" not in text_of(client.get("/admin/media_files/mediafile/"))
    assert client.get(f"{OPERATION}?filter=").status_code == 403
    assert client.get(f"{LIST}{analysed.pk}/change/").status_code == 200


def test_analysis_is_offered_with_permission(keep: Keep) -> None:
    keep()
    client = staff_with("media_files.view_mediafile", "analysis.add_analysis")
    text = text_of(client.get("/admin/media_files/mediafile/"))
    assert "Analyze (Nova)" in text
    assert "Analyze (Rekognition)" in text


def test_a_rejection_is_shown_in_the_list(admin_client: Client, nova: Service, keep: Keep) -> None:
    nova.faults.append(Refused(400, "ValidationException", "Too odd"))
    AnalysisService().analyze(keep())
    assert "rejected" in text_of(admin_client.get(LIST))


def test_a_failure_is_shown_on_the_page_of_its_file(admin_client: Client, nova: Service, keep: Keep) -> None:
    file = keep()
    nova.faults.append(Refused(400, "ValidationException", "Too odd"))
    AnalysisService().analyze(file)
    page = f"/admin/media_files/mediafile/{file.pk}/change/"
    assert "Too odd" in text_of(admin_client.get(page))
    # A call in flight has no answer yet.
    Analysis.objects.update(status="started", error="", message="")
    assert "started" in text_of(admin_client.get(page))

"""Answers about deleted files are kept, hidden, for the trash period; forgetting deletes them at once."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from analysis import budgets
from analysis.errors import AnalysisBusy
from analysis.models import Analysis, AnalysisLabel, SentCopy, Spending
from analysis.options import parameters_of
from analysis.payload import get_image_s3_key_for_analysis
from analysis.planning import AnalysisPlan
from analysis.queries import matching_text as files_saying
from analysis.queries import with_label
from analysis.services import AnalysisService
from analysis.tests.test_operation import run, start
from analysis.tests.test_s3_copies import copies, twin_of  # noqa: F401
from analysis.tests.wire import Service
from media_files.errors import SourceMissing
from media_files.models import MediaFile
from media_files.tests.pictures import jpeg
from novaproxy_site.tests.servers import S3Bucket
from proxies.batches import lifecycle
from proxies.batches.selection import Selection
from proxies.batches.sweeper import sweep
from proxies.outcomes import Outcome

Keep = Callable[..., MediaFile]
pytestmark = pytest.mark.django_db(transaction=True)
SMALL = jpeg(300, 200)
LARGE = jpeg(1800, 1000)


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["original", "proxy"])
def test_the_same_bytes_imported_again_are_not_billed_again(nova: Service, keep: Keep, data: bytes) -> None:
    keep(data)
    first = run(start())
    spent = budgets.spent(first.pk)
    MediaFile.objects.get().delete()
    assert budgets.spent(first.pk) == spent > 0
    file = keep(data)
    plan = lifecycle.plan("analyze-nova", Selection(MediaFile.objects.all()), parameters_of())
    assert isinstance(plan, AnalysisPlan)
    # A proxy's bytes are known only after it is created again.
    assert (plan.outcomes[Outcome.CREATED], plan.calls) == (1, 0 if data is SMALL else 1)
    second = run(start())
    assert nova.requests == 1
    assert not budgets.spent(second.pk)
    row = Analysis.objects.get()
    assert row.cost is not None
    assert not row.cost
    assert (row.file_id, row.is_newest, row.label_rows.count()) == (file.pk, True, 3)
    assert MediaFile.objects.filter(with_label("lighthouse")).get() == file


def test_answers_about_deleted_files_are_hidden(nova: Service, keep: Keep, admin_client: Client) -> None:
    row = AnalysisService().analyze(keep(SMALL)).analyses[0]
    MediaFile.objects.get().delete()
    assert Analysis.everything.count() == 1
    assert not Analysis.objects.exists()
    for found in (with_label("lighthouse"), files_saying("rock")):
        assert not MediaFile.objects.filter(found).exists()
    listed = admin_client.get(reverse("admin:analysis_analysis_changelist"))
    assert "0 analyses" in listed.content.decode()
    assert admin_client.get(reverse("admin:analysis_analysis_change", args=[row.pk])).status_code == 302
    other = keep(jpeg(301, 200))
    assert admin_client.get(f"/api/files/{other.pk}/analyses").json()["results"] == []


def test_bulk_deletion_in_the_admin_keeps_the_answers(
    nova: Service, keep: Keep, admin_client: Client
) -> None:
    ids = [keep(jpeg(100 + number, 90)).pk for number in range(3)]
    for pk in ids:
        AnalysisService().analyze(pk)
    body = {"action": "delete_selected", "_selected_action": ids, "post": "yes"}
    admin_client.post(reverse("admin:media_files_mediafile_changelist"), body)
    assert not MediaFile.objects.exists()
    kept = Analysis.everything.left_behind()
    assert (kept.count(), kept.filter(removed_at=None).count()) == (3, 0)


def test_the_sweeper_deletes_answers_after_the_trash_period(nova: Service, keep: Keep, settings: Any) -> None:
    AnalysisService().analyze(keep(SMALL))
    stays = AnalysisService().analyze(keep(jpeg(301, 200))).analyses[0]
    MediaFile.objects.get(sha256=Analysis.objects.earliest("id").sha256).delete()
    Analysis.everything.left_behind().update(removed_at=now() - timedelta(days=29))
    sweep()
    assert Analysis.everything.count() == 2
    Analysis.everything.left_behind().update(removed_at=now() - timedelta(days=31))
    sweep()
    assert list(Analysis.everything.values_list("pk", flat=True)) == [stays.pk]
    assert AnalysisLabel.objects.count() == 3


def test_without_a_trash_period_answers_are_deleted_with_their_file(
    nova: Service, keep: Keep, settings: Any
) -> None:
    settings.NOVAPROXY_TRASH_DAYS = 0
    AnalysisService().analyze(keep(SMALL))
    MediaFile.objects.get().delete()
    assert not Analysis.everything.exists()


@pytest.mark.parametrize("days", [30, 0])
def test_an_answer_after_its_file_was_deleted_is_counted(
    nova: Service, keep: Keep, settings: Any, days: int
) -> None:
    settings.NOVAPROXY_TRASH_DAYS = days
    file = keep(LARGE)
    batch = start()
    service = AnalysisService(batch_id=batch.pk)
    job = service.begin(file)
    service.reserve(job, None)
    replies = service.carry_out(job)
    MediaFile.objects.all().delete()
    with pytest.raises(SourceMissing):
        service.finish(job, replies)
    service.abandon(job)
    # Without a trash period, the row was deleted with the file and counted at the expected cost.
    assert budgets.spent(batch.pk) > 0
    assert not days or budgets.spent(batch.pk) == replies[0].call.row.cost
    assert not Spending.objects.get(batch=batch).nano_reserved
    assert not AnalysisLabel.objects.exists()
    assert Analysis.everything.filter(status="done").count() == bool(days)
    if days:
        assert AnalysisService().analyze(keep(LARGE)).outcome == Outcome.REUSED
        assert nova.requests == 1


def test_a_call_about_a_deleted_file_keeps_its_claim(nova: Service, keep: Keep) -> None:
    service = AnalysisService()
    job = service.begin(keep(SMALL))
    MediaFile.objects.all().delete()
    again = keep(SMALL)
    with pytest.raises(AnalysisBusy):
        AnalysisService().begin(again)
    service.abandon(job)
    assert not Analysis.everything.exists()
    assert AnalysisService().analyze(again).error is None


def test_a_superseded_answer_is_reused_with_its_labels(nova: Service, keep: Keep) -> None:
    file = keep(SMALL)
    AnalysisService().analyze(file)
    nova.answer = lambda asked: {}
    AnalysisService(force=True).analyze(file)
    Analysis.objects.update(is_newest=False)
    AnalysisLabel.objects.all().delete()
    twin = twin_of(file)
    AnalysisService().analyze(twin)
    assert MediaFile.objects.filter(with_label("lighthouse")).get() == twin


# -- Forget ----------------------------------------------------------------------------------------


def by_api(file: MediaFile, client: Client) -> None:
    assert client.post(f"/api/files/{file.pk}/forget").status_code == 204


def by_admin(file: MediaFile, client: Client) -> None:
    page = client.get(reverse("admin:media_files_mediafile_change", args=[file.pk]))
    url = reverse("admin:media_files_mediafile_forget", args=[file.pk])
    assert url in page.content.decode()
    assert "cannot be undone" in client.get(url).content.decode()
    assert client.post(url).status_code == 302


def by_command(file: MediaFile, client: Client) -> None:
    call_command("forget_picture", str(file.pk), "--no-dry-run", stdout=io.StringIO())


DOORS = [by_api, by_admin, by_command]


@pytest.mark.parametrize("door", DOORS)
def test_a_forgotten_picture_leaves_no_answer(
    nova: Service, keep: Keep, admin_client: Client, settings: Any, door: Callable[[MediaFile, Client], None]
) -> None:
    """Neither do earlier imports of it, whose proxies were created with other settings."""
    AnalysisService().analyze(keep(LARGE))
    MediaFile.objects.get().delete()
    settings.NOVAPROXY_QUALITY = 40
    file = keep(LARGE)
    AnalysisService().analyze(file)
    other = AnalysisService().analyze(keep(SMALL)).analyses[0]
    door(file, admin_client)
    assert list(Analysis.everything.values_list("pk", flat=True)) == [other.pk]
    assert not MediaFile.objects.filter(pk=file.pk).exists()
    asked = nova.requests
    assert AnalysisService().analyze(keep(LARGE)).outcome == Outcome.CREATED
    assert nova.requests == asked + 1


def test_a_deleted_picture_is_forgotten_by_its_sha256(nova: Service, keep: Keep) -> None:
    sha256 = keep(LARGE).sha256
    AnalysisService().analyze(MediaFile.objects.get())
    MediaFile.objects.get().delete()
    out = io.StringIO()
    call_command("forget_picture", sha256, stdout=out)
    assert "0 files, 1 kept answer. Dry run" in out.getvalue()
    assert Analysis.everything.exists()
    call_command("forget_picture", sha256, "--no-dry-run", stdout=out)
    assert not Analysis.everything.exists()


def test_another_file_with_the_same_bytes_keeps_its_answer(nova: Service, keep: Keep, client: Client) -> None:
    file = keep(SMALL)
    AnalysisService().analyze(file)
    twin = twin_of(file)
    AnalysisService().analyze(twin)
    call_command("forget_picture", str(file.pk), "--no-dry-run", stdout=io.StringIO())
    assert Analysis.everything.get().file_id == twin.pk


def test_a_late_answer_about_a_forgotten_picture_is_not_kept(nova: Service, keep: Keep) -> None:
    file = keep(SMALL)
    batch = start()
    service = AnalysisService(batch_id=batch.pk)
    job = service.begin(file)
    service.reserve(job, None)
    replies = service.carry_out(job)
    call_command("forget_picture", str(file.pk), "--no-dry-run", stdout=io.StringIO())
    with pytest.raises(SourceMissing):
        service.finish(job, replies)
    assert not Analysis.everything.exists()
    assert budgets.spent(batch.pk) > 0
    assert not Spending.objects.get(batch=batch).nano_reserved


@pytest.mark.parametrize("allowed", [False, True])
def test_forgetting_requires_the_delete_permission(
    nova: Service, keep: Keep, client: Client, django_user_model: type[User], allowed: bool
) -> None:
    user = django_user_model.objects.create_user("viewer", password="x", is_staff=True)
    names = ["view_mediafile", "delete_mediafile"] if allowed else ["view_mediafile"]
    user.user_permissions.add(*Permission.objects.filter(codename__in=names))
    client.force_login(user)
    first, second = keep(SMALL), keep(jpeg(301, 200))
    url = reverse("admin:media_files_mediafile_forget", args=[second.pk])
    assert client.post(f"/api/files/{first.pk}/forget").status_code == (204 if allowed else 403)
    assert client.post(url).status_code == (302 if allowed else 403)
    assert MediaFile.objects.count() == (0 if allowed else 2)


@pytest.mark.s3
def test_copies_of_a_forgotten_picture_are_deleted(copies: S3Bucket, keep: Keep) -> None:  # noqa: F811
    file = keep(LARGE)
    get_image_s3_key_for_analysis(file)
    call_command("forget_picture", str(file.pk), "--no-dry-run", stdout=io.StringIO())
    assert copies.keys("sent/") == []
    assert not SentCopy.objects.exists()

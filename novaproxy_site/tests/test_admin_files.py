"""Originals in the admin: list, search, upload, replace, delete."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.timezone import now

from media_files.errors import StorageError
from media_files.models import MediaFile
from media_files.storage.local import LocalStorage
from media_files.tests import pictures
from media_files.tests.fixtures import files_in
from novaproxy_site.tests.admin_pages import messages_of, staff_with
from proxies.models import Batch, BatchItem, Proxy
from proxies.services import ImageProxyService

LIST = reverse("admin:media_files_mediafile_changelist")
ADD = reverse("admin:media_files_mediafile_add")

Adds = Callable[..., MediaFile]
pytestmark = pytest.mark.django_db


@pytest.fixture
def closed_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test if it opens a file."""

    def refuse(self: LocalStorage, name: str, **kwargs: Any) -> None:
        raise AssertionError(f"{name} was opened")

    for method in ("fetch", "stat", "open"):
        monkeypatch.setattr(LocalStorage, method, refuse)


def change_url(row: MediaFile) -> str:
    return reverse("admin:media_files_mediafile_change", args=[row.pk])


def upload(data: bytes, name: str = "picture.jpg") -> dict[str, Any]:
    return {"file": SimpleUploadedFile(name, data)}


def names_of(response: Any) -> set[str]:
    return {row.original_name for row in response.context["cl"].result_list}


# -- The list --------------------------------------------------------------------------------------


def test_the_list_shows_proxies_and_never_originals(admin_client: Client, add: Adds) -> None:
    large, small = add(pictures.jpeg(1000, 900), "large.jpg"), add(pictures.jpeg(30, 20), "small.jpg")
    proxy = ImageProxyService().create_proxy(large).proxy
    assert proxy is not None
    page = admin_client.get(LIST).content.decode()
    assert re.findall(r'<img src="(/api/[^"]*)"', page) == [reverse("file-thumbnail", args=[large.pk])]
    assert 'loading="lazy"' in page
    assert 'alt="Preview of large.jpg"' in page
    assert reverse("file-content", args=[small.pk]) not in page


def test_the_list_shows_name_size_format_dimensions_and_state(
    admin_client: Client, add: Adds, closed_storage: None
) -> None:
    row = add(pictures.jpeg(1000, 900), "Dom.jpg")
    page = admin_client.get(LIST).content.decode()
    for reported in ("Dom.jpg", "JPEG", "1000 \N{MULTIPLICATION SIGN} 900", "kB", "queued"):
        assert reported in page, reported
    assert row.bytes is not None
    assert row.bytes > 1024


def test_the_list_takes_the_same_queries_for_any_number_of_files(
    admin_client: Client, add: Adds, off: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ImageProxyService().create_proxy(add(seed=0))
    admin_client.get(LIST)
    with CaptureQueriesContext(
        connection,
    ) as for_one:
        admin_client.get(LIST)
    for seed in range(1, 12):
        ImageProxyService().create_proxy(add(seed=seed))
    monkeypatch.setattr(LocalStorage, "fetch", None)
    with CaptureQueriesContext(connection) as for_many:
        admin_client.get(LIST)
    assert len(for_many) == len(for_one) <= 8


@pytest.fixture
def one_of_each(add: Adds, off: None) -> None:
    """Add a file in each proxy state, named after the state."""
    ImageProxyService().create_proxy(add(seed=1, name="current"))
    ImageProxyService().create_proxy(add(seed=2, name="stale"))
    Proxy.objects.filter(source__original_name="stale").update(recipe="an older one")
    add(seed=3, name="missing")
    add(pictures.encoded("PNG", 30, 20), name="not_needed")


@pytest.mark.parametrize("state", ["current", "stale", "missing", "not_needed"])
def test_files_can_be_filtered_by_proxy_state(admin_client: Client, one_of_each: None, state: str) -> None:
    response = admin_client.get(LIST, {"proxy_state": state})
    assert names_of(response) == {state}
    assert f'<span class="np-badge np-{state}"' in response.content.decode()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"file_type__exact": "video"}, {"film.mp4"}),
        ({"format": "PNG"}, {"drawing.png"}),
        ({"format": "TIFF"}, set()),
        ({"q": "raw"}, {"drawing.png"}),
        ({"q": "nothing like it"}, set()),
        ({"created_at__lt": "2001-01-01 00:00:00+00:00"}, {"film.mp4"}),
    ],
)
def test_files_can_be_found_by_type_format_name_and_date(
    admin_client: Client, add: Adds, query: dict[str, str], found: set[str]
) -> None:
    add(pictures.jpeg(), "photograph.jpg")
    add(pictures.encoded("PNG", 30, 20), "drawing.png")
    film = add(pictures.mp4(), "film.mp4")
    MediaFile.objects.filter(pk=film.pk).update(created_at=now() - timedelta(days=365 * 40))
    assert names_of(admin_client.get(LIST, query)) == found


def test_files_can_be_found_by_a_sha256_prefix(admin_client: Client, add: Adds) -> None:
    row = add(seed=1, name="this")
    add(seed=2, name="that")
    assert names_of(admin_client.get(LIST, {"q": row.sha256[:12]})) == {"this"}


# -- Uploading -------------------------------------------------------------------------------------


def test_an_upload_stores_a_file_with_its_uploader(
    admin_client: Client, admin_user: Any, folders: dict[str, Path]
) -> None:
    response = admin_client.post(ADD, upload(pictures.jpeg(), "../Köln.jpg"), follow=True)
    row = MediaFile.objects.get()
    assert response.redirect_chain == [(LIST, 302)]
    assert (row.original_name, row.format, row.width, row.uploader) == ("Köln.jpg", "JPEG", 1000, admin_user)
    assert files_in(folders["originals"]) == [row.file.name]
    assert LogEntry.objects.get().object_id == str(row.pk)


REFUSED = {
    "empty": b"",
    "unsupported_format": pictures.SVG,
    "corrupt": pictures.jpeg()[:200],
    "too_large": pictures.encoded("PNG", 400, 300),
    "file_too_large": pictures.encoded("BMP", 200, 200),
}


@pytest.mark.parametrize("code", REFUSED)
def test_a_rejected_upload_shows_the_error_and_changes_nothing(
    admin_client: Client, settings: Any, everything: Callable[[], Any], code: str
) -> None:
    settings.NOVAPROXY_MAX_PIXELS, settings.NOVAPROXY_MAX_UPLOAD = 100_000, 100_000
    before = everything()
    response = admin_client.post(ADD, upload(REFUSED[code]))
    assert response.status_code == 200
    (error,) = response.context["errors"]
    assert f"(code: {code})" in error[0]
    assert len(error[0]) > 40, "the message should say what was found, what is allowed and what to do"
    assert everything() == before


@pytest.mark.parametrize(
    "data", [pictures.HTML, pictures.PDF, pictures.archive()], ids=["html", "pdf", "zip"]
)
def test_other_documents_are_rejected_regardless_of_their_name(admin_client: Client, data: bytes) -> None:
    response = admin_client.post(ADD, upload(data, "holiday.jpg"))
    assert "unsupported_format" in response.content.decode()
    assert not MediaFile.objects.exists()


def test_uploading_the_same_bytes_redirects_to_the_existing_file(
    admin_client: Client, add: Adds, folders: dict[str, Path]
) -> None:
    row = add(pictures.jpeg(), "first.jpg")
    response = admin_client.post(ADD, upload(pictures.jpeg(), "second.jpg"), follow=True)
    assert response.redirect_chain == [(change_url(row), 302)]
    assert "first.jpg" in messages_of(response)[0]
    assert MediaFile.objects.count() == len(files_in(folders["originals"])) == 1
    assert not LogEntry.objects.exists()


def test_a_storage_error_is_shown_and_nothing_is_stored(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, folders: dict[str, Path]
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise StorageError("The disk is full.")

    monkeypatch.setattr(LocalStorage, "put", fail)
    response = admin_client.post(ADD, upload(pictures.jpeg()), follow=True)
    assert messages_of(response) == ["The disk is full. (code: storage)"]
    assert response.redirect_chain == [(ADD, 302)]
    assert not MediaFile.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_a_file_is_stored(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, folders: dict[str, Path], off: None
) -> None:
    put, open_transactions = LocalStorage.put, []

    def observed(self: LocalStorage, *args: Any, **kwargs: Any) -> Any:
        open_transactions.append(connection.in_atomic_block)
        return put(self, *args, **kwargs)

    monkeypatch.setattr(LocalStorage, "put", observed)
    admin_client.post(ADD, upload(pictures.jpeg(seed=1)))
    row = MediaFile.objects.get()
    admin_client.post(change_url(row), upload(pictures.jpeg(seed=2)))
    assert open_transactions == [False, False]


def test_a_form_without_csrf_token_is_rejected(admin_user: Any, folders: dict[str, Path]) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    assert client.post(ADD, upload(pictures.jpeg())).status_code == 403
    assert not MediaFile.objects.exists()


def test_uploading_requires_the_permission() -> None:
    client = staff_with("media_files.view_mediafile")
    assert client.post(ADD, upload(pictures.jpeg())).status_code == 403


# -- One file --------------------------------------------------------------------------------------


def test_the_page_of_a_file_shows_its_proxy_and_its_facts(admin_client: Client, add: Adds, off: None) -> None:
    row = add(pictures.jpeg(1000, 900), "Dom.jpg")
    proxy = ImageProxyService().create_proxy(row).proxy
    assert proxy is not None
    page = admin_client.get(change_url(row)).content.decode()
    for reported in (
        reverse("file-content", args=[row.pk]),
        reverse("proxy-content", args=[proxy.pk]),
        row.sha256,
        proxy.recipe,
        "996 \N{MULTIPLICATION SIGN} 896",
        "decode_scale",
    ):
        assert reported in page, reported


def test_the_page_of_a_file_shows_its_history(admin_client: Client, add: Adds) -> None:
    row = add(pictures.jpeg())
    BatchItem.objects.update(state="done", outcome="failed", error="corrupt", message="It ends <too> early.")
    page = admin_client.get(change_url(row)).content.decode()
    assert "It ends &lt;too&gt; early." in page
    assert "New uploads" in page


@pytest.mark.parametrize(
    ("operation", "state", "shown"),
    [
        ("image-proxy", "running", "queued"),
        ("image-proxy", "paused", "missing"),
        ("image-proxy", "cancelled", "missing"),
        ("analyze-nova", "running", "missing"),
    ],
)
def test_only_files_in_a_running_proxy_batch_are_shown_as_queued(
    admin_client: Client, add: Adds, operation: str, state: str, shown: str
) -> None:
    row = add(pictures.jpeg())
    BatchItem.objects.all().delete()
    batch = Batch.objects.create(operation=operation, state=state)
    BatchItem.objects.create(batch=batch, file=row)
    page = admin_client.get(LIST).content.decode()
    assert re.findall(r'class="np-badge np-(\w+)"', page) == [shown]


def test_replacing_a_file_outdates_its_proxy_and_queues_it(
    admin_client: Client,
    add: Adds,
    folders: dict[str, Path],
    django_capture_on_commit_callbacks: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = add(seed=1, name="before.jpg")
    ImageProxyService().create_proxy(row)
    BatchItem.objects.update(state="done")
    old = row.file.name
    monkeypatch.setattr("proxies.batches.worker_slots.wake", lambda most=1: 0)
    with django_capture_on_commit_callbacks(execute=True):
        admin_client.post(change_url(row), upload(pictures.jpeg(seed=2), "after.jpg"))
    row.refresh_from_db()
    assert (row.original_name, files_in(folders["originals"])) == ("after.jpg", [row.file.name])
    assert row.file.name != old
    response = admin_client.get(LIST, {"proxy_state": "stale"})
    assert names_of(response) == {"after.jpg"}
    assert BatchItem.objects.filter(file=row, state="queued").count() == 1


@pytest.mark.parametrize("data", [pictures.PDF, b""], ids=["pdf", "empty"])
def test_a_rejected_replacement_keeps_the_old_file(
    admin_client: Client, add: Adds, everything: Callable[[], Any], data: bytes
) -> None:
    row = add()
    before = everything()
    response = admin_client.post(change_url(row), upload(data))
    assert "code: " in response.context["errors"][0][0]
    assert everything() == before


@pytest.mark.parametrize("form", [{}, upload(pictures.jpeg(seed=1))], ids=["no file", "the same file"])
def test_saving_without_a_different_file_changes_nothing(
    admin_client: Client, add: Adds, form: dict[str, Any]
) -> None:
    row = add(seed=1)
    response = admin_client.post(change_url(row), form, follow=True)
    assert messages_of(response)[0].startswith("Nothing was changed")
    after = MediaFile.objects.get()
    assert (after.updated_at, after.file.name) == (row.updated_at, row.file.name)


def test_view_permission_alone_shows_facts_and_no_form(add: Adds, closed_storage: None) -> None:
    row = add()
    client = staff_with("media_files.view_mediafile")
    page = client.get(change_url(row)).content.decode()
    assert row.sha256 in page
    assert 'type="file"' not in page
    assert client.post(change_url(row), upload(pictures.jpeg(seed=2))).status_code == 403


# -- Deleting --------------------------------------------------------------------------------------


def test_deleting_a_file_deletes_its_proxy_after_the_commit(
    add: Adds,
    folders: dict[str, Path],
    off: None,
    django_capture_on_commit_callbacks: Any,
) -> None:
    row = add()
    ImageProxyService().create_proxy(row)
    client = staff_with("media_files.view_mediafile", "media_files.delete_mediafile")
    url = reverse("admin:media_files_mediafile_delete", args=[row.pk])
    with django_capture_on_commit_callbacks() as after_the_commit:
        assert client.post(url, {"post": "yes"}).status_code == 302
        assert len(files_in(folders["originals"])) == len(files_in(folders["proxies"])) == 1
    for callback in after_the_commit:
        callback()
    assert not MediaFile.objects.exists()
    assert files_in(folders["originals"]) == files_in(folders["proxies"]) == []


def test_deleting_a_large_selection_shows_a_summary(admin_client: Client, folders: dict[str, Path]) -> None:
    MediaFile.objects.bulk_create(
        MediaFile(file=f"original/{number}.jpg", original_name=f"IMG_{number}.jpg") for number in range(450)
    )
    form = {"action": "delete_selected", "_selected_action": ["1"], "select_across": "1"}
    page = admin_client.post(LIST, form).content.decode()
    assert "450 media files" in page
    assert "IMG_7.jpg" not in page
    admin_client.post(LIST, form | {"post": "yes"})
    assert not MediaFile.objects.exists()


def test_a_file_that_needs_no_proxy_shows_its_thumbnail(admin_client: Client, add: Adds, off: None) -> None:
    row = add(pictures.jpeg(30, 20), "small.jpg")
    page = reverse("admin:media_files_mediafile_change", args=[row.pk])
    assert reverse("file-thumbnail", args=[row.pk]) not in admin_client.get(page).content.decode()
    ImageProxyService().create_proxy(row)
    for address in (page, LIST):
        assert reverse("file-thumbnail", args=[row.pk]) in admin_client.get(address).content.decode()

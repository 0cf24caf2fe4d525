"""Proxies in the admin: list, view, delete."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from media_files.models import MediaFile
from media_files.storage.local import LocalStorage
from media_files.tests import pictures
from media_files.tests.fixtures import files_in
from novaproxy_site.tests.admin_pages import staff_with, text_of
from proxies.models import Proxy
from proxies.services import ImageProxyService, create_proxy_file

LIST = reverse("admin:proxies_proxy_changelist")

Adds = Callable[..., MediaFile]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("off")]


@pytest.fixture
def make(add: Adds) -> Callable[[int], Proxy]:
    """Return a function that adds a file with a given seed and makes its proxy."""

    def make_one(seed: int) -> Proxy:
        proxy = ImageProxyService().create_proxy(add(seed=seed, name=f"IMG_{seed}.jpg")).proxy
        assert proxy is not None
        return proxy

    return make_one


def page_of(proxy: Proxy) -> str:
    return reverse("admin:proxies_proxy_change", args=[proxy.pk])


def test_the_list_shows_sizes_savings_and_state(
    admin_client: Client, make: Callable[[int], Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = make(1)
    make(2)
    Proxy.objects.filter(pk=proxy.pk).update(recipe="an older one", bytes=(proxy.source.bytes or 0) // 4)
    monkeypatch.setattr(LocalStorage, "fetch", None)
    text = text_of(admin_client.get(LIST))
    for reported in ("IMG_1.jpg outdated", "996 \N{MULTIPLICATION SIGN} 896", "75 %", "IMG_2.jpg up to date"):
        assert reported in text, reported


def test_the_list_takes_the_same_queries_for_any_number_of_proxies(
    admin_client: Client, make: Callable[[int], Proxy]
) -> None:
    make(0)
    admin_client.get(LIST)
    with CaptureQueriesContext(connection) as for_one:
        admin_client.get(LIST)
    for seed in range(1, 6):
        make(seed)
    with CaptureQueriesContext(connection) as for_many:
        admin_client.get(LIST)
    assert len(for_many) == len(for_one)


def test_proxies_can_be_found_by_the_name_of_their_original(
    admin_client: Client, make: Callable[[int], Proxy]
) -> None:
    make(1)
    wanted = make(2)
    assert list(admin_client.get(LIST, {"q": "IMG_2"}).context["cl"].result_list) == [wanted]


def test_the_page_of_a_proxy_shows_how_it_was_made(
    admin_client: Client, make: Callable[[int], Proxy]
) -> None:
    proxy = make(1)
    response = admin_client.get(page_of(proxy))
    text = text_of(response)
    for reported in (
        proxy.image.name,
        proxy.recipe,
        proxy.sha256,
        proxy.source_fingerprint,
        *proxy.provenance,
    ):
        assert reported in text, reported
    page = response.content.decode()
    assert f'src="{reverse("proxy-content", args=[proxy.pk])}"' in page
    assert reverse("admin:media_files_mediafile_change", args=[proxy.source_id]) in page
    assert 'name="_save"' not in page


def test_an_external_video_proxy_is_linked_and_not_shown_as_an_image(admin_client: Client, add: Adds) -> None:
    film = add(pictures.mp4(), "film.mp4")
    proxy = create_proxy_file(film, pictures.mp4(), width=320, height=240)
    page = admin_client.get(page_of(proxy)).content.decode()
    assert "Open the video" in page
    assert f'src="{reverse("proxy-content", args=[proxy.pk])}"' not in page
    assert "film.mp4 given" in text_of(admin_client.get(LIST))


def test_permission_to_view_originals_includes_their_proxies(make: Callable[[int], Proxy]) -> None:
    proxy = make(1)
    client = staff_with("media_files.view_mediafile")
    assert client.get(page_of(proxy)).status_code == 200
    assert client.post(f"{LIST}{proxy.pk}/delete/", {"post": "yes"}).status_code == 403
    assert client.post(page_of(proxy), {"recipe": "mine"}).status_code == 403
    assert client.get(f"{LIST}add/").status_code == 403
    assert Proxy.objects.get().recipe == proxy.recipe


def test_proxies_are_forbidden_without_permission_to_view_originals(make: Callable[[int], Proxy]) -> None:
    proxy = make(1)
    client = staff_with("proxies.view_batch")
    assert client.get(LIST).status_code == 403
    assert client.get(page_of(proxy)).status_code == 403


def test_deleting_a_proxy_deletes_its_file_and_keeps_the_original(
    make: Callable[[int], Proxy],
    folders: dict[str, Path],
    django_capture_on_commit_callbacks: Any,
) -> None:
    proxies = [make(seed) for seed in range(3)]
    client = staff_with("media_files.view_mediafile", "proxies.delete_proxy")
    form = {"action": "delete_selected", "_selected_action": [p.pk for p in proxies[:2]], "post": "yes"}
    with django_capture_on_commit_callbacks(execute=True):
        assert client.post(LIST, form).status_code == 302
    assert files_in(folders["proxies"]) == [proxies[2].image.name]
    assert len(files_in(folders["originals"])) == MediaFile.objects.count() == 3

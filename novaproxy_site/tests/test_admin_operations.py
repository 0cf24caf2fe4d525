"""Operations as actions of the file list: offer, preview, start."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import QuerySet, Value
from django.http import QueryDict
from django.test import Client
from django.urls import reverse

from media_files.localised import human_bytes
from media_files.models import MediaFile
from media_files.tests import pictures
from novaproxy_site.tests.admin_pages import staff_with, text_of
from proxies.admin import operation_pages
from proxies.admin.operation_pages import OperationPage, page_of
from proxies.batches import lifecycle, operations
from proxies.batches.claim import Claim
from proxies.batches.operations import Operation, Parameters
from proxies.batches.plan import Plan
from proxies.batches.selection import Selection
from proxies.models import Batch, Proxy
from proxies.services import ImageProxyService

LIST = reverse("admin:media_files_mediafile_changelist")
PAGE = reverse("admin:media_files_mediafile_operation", args=["image-proxy"])
LOOK = "media_files.view_mediafile"
MAKE = "proxies.add_proxy"

Adds = Callable[..., MediaFile]
pytestmark = pytest.mark.usefixtures("off")


def actions_of(response: Any) -> dict[str, str]:
    return dict(response.context["action_form"].fields["action"].choices)


def choose(client: Client, query: str = "", *ids: int, every: bool = False) -> Any:
    """Select files in the list and press "Go"."""
    form = {"action": "image-proxy", "_selected_action": ids or [1], "select_across": "1" if every else "0"}
    return client.post(f"{LIST}?{query}", form)


def counts_of(response: Any) -> dict[str, int]:
    return {word: count for word, count, _ in response.context["outcomes"]}


# -- The action in the list ------------------------------------------------------------------------


def test_the_action_shows_the_operations_label_and_description(admin_client: Client, add: Adds) -> None:
    add()
    response = admin_client.get(LIST)
    assert actions_of(response)["image-proxy"] == "Image Proxies (Nova)"
    assert str(page_of("image-proxy").description) in text_of(response)


def test_the_action_is_hidden_without_permission(add: Adds) -> None:
    add()
    response = staff_with(LOOK, "media_files.delete_mediafile").get(LIST)
    assert "delete_selected" in actions_of(response)
    assert "image-proxy" not in actions_of(response)
    assert str(page_of("image-proxy").description) not in text_of(response)


def test_selected_files_are_passed_by_id(admin_client: Client, add: Adds) -> None:
    first, second, _ = add(seed=1), add(seed=2), add(seed=3)
    response = choose(admin_client, "", first.pk, second.pk)
    assert response.url == f"{PAGE}?ids={first.pk}%2C{second.pk}"
    assert "2 files selected" in text_of(admin_client.get(response.url))


def test_select_all_passes_the_filter_instead_of_ids(admin_client: Client, folders: Any) -> None:
    MediaFile.objects.bulk_create(
        MediaFile(file=f"original/{number}.jpg", original_name=f"IMG_{number}.jpg", width=2000, height=1000)
        for number in range(300)
    )
    response = choose(admin_client, "q=IMG&p=2", every=True)
    assert QueryDict(response.url.partition("?")[2]).dict() == {"filter": "q=IMG"}
    page = admin_client.get(response.url)
    assert page.context["plan"].total == 300
    assert "All 300 files that match this filter: search “IMG”" in text_of(page)


def test_selecting_all_files_of_the_library_is_described_as_such(admin_client: Client, add: Adds) -> None:
    add()
    response = choose(admin_client, every=True)
    assert "All 1 file in the library" in text_of(admin_client.get(response.url))


# -- Permissions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("permissions", [[LOOK], [MAKE], [LOOK, "media_files.change_mediafile"]], ids=str)
@pytest.mark.parametrize("method", ["get", "post"])
def test_the_page_requires_the_operations_permission(add: Adds, permissions: list[str], method: str) -> None:
    row = add()
    response = getattr(staff_with(*permissions), method)(f"{PAGE}?ids={row.pk}")
    assert response.status_code == 403
    assert not Batch.objects.exists()


def test_the_page_opens_with_the_permission(add: Adds) -> None:
    row = add()
    assert staff_with(LOOK, MAKE).get(f"{PAGE}?ids={row.pk}").status_code == 200


def test_anonymous_users_are_redirected_to_the_login(client: Client, add: Adds) -> None:
    response: Any = client.post(f"{PAGE}?ids={add().pk}")
    assert response.url.startswith(reverse("admin:login"))
    assert not Batch.objects.exists()


def test_an_unknown_operation_is_not_found(admin_client: Client) -> None:
    page = reverse("admin:media_files_mediafile_operation", args=["make-coffee"])
    assert admin_client.get(f"{page}?filter=").status_code == 404


@pytest.mark.parametrize(
    "query", ["", "ids=", "ids=1,two", f"ids=1,{2**64}", "filter=created_at__gte%3Dsoon"]
)
def test_an_address_without_valid_files_redirects_to_the_list(admin_client: Client, query: str) -> None:
    for method in (admin_client.get, admin_client.post):
        response = method(f"{PAGE}?{query}", follow=True)
        assert response.redirect_chain == [(LIST, 302)]
        assert list(response.context["messages"])
    assert not Batch.objects.exists()


# -- The preview -----------------------------------------------------------------------------------


@pytest.fixture
def library(add: Adds) -> None:
    """Add a file for each outcome except quarantined: reused, created (for two reasons), skipped, failed."""
    ImageProxyService().create_proxy(add(seed=1))
    add(pictures.encoded("TIFF", 1000, 900))
    add(pictures.jpeg(30, 20))
    add(pictures.mp4(), "film.mp4")


def test_the_page_shows_the_preview(admin_client: Client, library: None) -> None:
    response = admin_client.get(f"{PAGE}?filter=")
    plan = lifecycle.plan("image-proxy", Selection(MediaFile.objects.all()), {})
    assert counts_of(response) == dict(plan.outcomes)
    assert counts_of(response) == {"created": 1, "reused": 1, "skipped": 1, "failed": 1}
    text = text_of(response)
    for reason in ("shorter_side 1 larger than the model needs", "format 1 of a format"):
        assert reason in text, reason
    for reported in (
        str(page_of("image-proxy").description),
        "Extra disk space",
        "Upload saved per analysis",
    ):
        assert reported in text, reported


def test_a_forecast_without_sample_is_shown_as_unknown(admin_client: Client, library: None) -> None:
    text = text_of(admin_client.get(f"{PAGE}?filter="))
    assert "Proxies to create unknown: only 1 earlier" in text
    assert "Extra disk space unknown" in text


def test_a_forecast_shows_its_interval_and_sample_size(admin_client: Client, add: Adds) -> None:
    for seed in range(5):
        ImageProxyService().create_proxy(add(seed=seed))
    add(seed=9)
    text = text_of(admin_client.get(f"{PAGE}?filter="))
    assert re.search(
        r"about [\d.]+ [kM]B \(9 times out of 10 between .+ and .+; estimated from 5 earlier", text
    )
    assert re.search(r"Extra disk space about [\d.]+ [kM]B", text)


def test_unchanged_proxies_need_no_forecast(admin_client: Client, add: Adds) -> None:
    row = add()
    proxy = ImageProxyService().create_proxy(row).proxy
    assert proxy
    text = text_of(admin_client.get(f"{PAGE}?ids={row.pk}&force=on"))
    assert f"Proxies to create {human_bytes(proxy.bytes)}" in text
    assert "Extra disk space none" in text


def test_force_updates_the_preview(admin_client: Client, library: None) -> None:
    response = admin_client.get(f"{PAGE}?filter=&force=on")
    assert counts_of(response) == {"created": 1, "replaced": 1, "skipped": 1, "failed": 1}
    assert re.search(r'<input[^>]* name="force"[^>]* checked', response.content.decode())
    assert '<input type="hidden" name="force" value="on">' in response.content.decode()


def test_viewing_a_preview_changes_nothing(
    admin_client: Client, library: None, everything: Callable[[], Any]
) -> None:
    before = everything()
    admin_client.get(f"{PAGE}?filter=&force=on")
    assert everything() == before


def test_nothing_can_be_started_if_there_is_nothing_to_do(admin_client: Client, add: Adds) -> None:
    row = add(pictures.jpeg(30, 20))
    response = admin_client.get(f"{PAGE}?ids={row.pk}")
    assert "There is nothing to do." in text_of(response)
    assert "Start:" not in text_of(response)


# -- Starting --------------------------------------------------------------------------------------


def test_start_creates_a_batch_of_the_filtered_files_and_shows_it(
    admin_client: Client, admin_user: Any, add: Adds
) -> None:
    wanted = [add(seed=1, name="IMG_1.jpg"), add(seed=2, name="IMG_2.jpg")]
    add(seed=3, name="other.jpg")
    response: Any = admin_client.post(f"{PAGE}?filter=q%3DIMG", {"force": "on"})
    batch = Batch.objects.get()
    assert response.url == reverse("admin:proxies_batch_change", args=[batch.pk])
    assert (batch.operation, batch.created_by, batch.executor) == ("image-proxy", admin_user, "queue")
    assert batch.parameters == {"force": True, "profile": "nova"}
    assert batch.plan["total"] == 2
    assert set(batch.items.values_list("file_id", flat=True)) == {row.pk for row in wanted}


def test_another_profile_can_be_previewed_and_started(admin_client: Client, add: Adds) -> None:
    row = add()
    ImageProxyService().create_proxy(row)
    planned = admin_client.get(f"{PAGE}?ids={row.pk}&profile=rekognition")
    assert planned.context["plan"].outcomes == {"skipped": 1}
    admin_client.post(f"{PAGE}?ids={row.pk}", {"profile": "rekognition"})
    assert Batch.objects.get().parameters == {"force": False, "profile": "rekognition"}
    admin_client.post(f"{PAGE}?ids={row.pk}", {"profile": "moon"})
    assert Batch.objects.count() == 1


def test_nothing_is_forced_unless_the_box_is_ticked(admin_client: Client, add: Adds) -> None:
    row = add()
    ImageProxyService().create_proxy(row)
    admin_client.post(f"{PAGE}?ids={row.pk}")
    batch = Batch.objects.get()
    assert batch.parameters == {"force": False, "profile": "nova"}
    assert list(batch.items.values_list("outcome", flat=True)) == ["reused"]


def test_a_list_filter_selects_the_same_files_for_the_batch(admin_client: Client, add: Adds) -> None:
    for seed, name in enumerate(["current", "stale", "missing"]):
        row = add(seed=seed, name=name)
        if name != "missing":
            ImageProxyService().create_proxy(row)
    Proxy.objects.filter(source__original_name="stale").update(recipe="an older one")
    url = choose(admin_client, "proxy_state=stale&file_type__exact=image", every=True).url
    assert "proxy outdated ; file type Image" in text_of(admin_client.get(url))
    admin_client.post(url)
    (item,) = Batch.objects.get().items.all()
    assert item.file.original_name == "stale"


def test_a_form_without_csrf_token_starts_nothing(admin_user: Any, add: Adds) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    assert client.post(f"{PAGE}?ids={add().pk}").status_code == 403
    assert not Batch.objects.exists()


# -- Any operation ---------------------------------------------------------------------------------


class Describe(Operation):
    name = "describe"
    permission = "media_files.change_mediafile"

    def annotate(self, files: QuerySet[MediaFile], parameters: Parameters) -> QuerySet[MediaFile]:
        outcome = "created" if parameters["short"] else "skipped"
        return files.annotate(outcome=Value(outcome))

    def plan(self, selection: Selection, parameters: Parameters) -> Plan:
        plan = Plan()
        plan.outcomes["created" if parameters["short"] else "skipped"] = len(selection.ids or [])
        return plan

    def perform(self, work: Claim) -> None:
        raise AssertionError("nothing is performed here")


def test_every_registered_operation_gets_an_action_a_page_and_a_permission(
    add: Adds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(operations._registered, "describe", Describe())
    switches = {"short": "One sentence only.", "german": "In German."}
    page = OperationPage("Describe (100 %)", "Describes each image.", switches)
    monkeypatch.setitem(operation_pages._pages, "describe", page)
    row = add()
    client = staff_with(LOOK, "media_files.change_mediafile")
    assert actions_of(client.get(LIST))["describe"] == "Describe (100 %)"
    assert "image-proxy" not in actions_of(client.get(LIST))
    url = reverse("admin:media_files_mediafile_operation", args=["describe"])
    response = client.get(f"{url}?ids={row.pk}&short=on")
    assert counts_of(response) == {"created": 1}
    assert "Short : One sentence only. German : In German." in text_of(response)
    assert client.get(f"{PAGE}?ids={row.pk}").status_code == 403

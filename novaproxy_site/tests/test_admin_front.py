"""Other pages of the admin: quarantine, workers, the front page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from media_files.models import MediaFile
from novaproxy_site.tests.admin_pages import messages_of, staff_with, text_of
from proxies.models import Quarantine, WorkerState

Adds = Callable[..., MediaFile]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("off")]


def test_released_files_can_be_retried(admin_client: Client, add: Adds) -> None:
    rows = [add(seed=seed, name=f"IMG_{seed}.jpg") for seed in range(3)]
    for row in rows:
        Quarantine.objects.create(source=row, fingerprint=row.fingerprint, message="It took all memory.")
    url = reverse("admin:proxies_quarantine_changelist")
    assert "IMG_1.jpg Image Proxies (Nova) It took all memory." in text_of(admin_client.get(url))
    chosen = [row.quarantines.get().pk for row in rows[:2]]
    response = admin_client.post(url, {"action": "release", "_selected_action": chosen}, follow=True)
    assert set(Quarantine.objects.values_list("source_id", flat=True)) == {rows[2].pk}
    (message,) = messages_of(response)
    assert message.startswith("2 files were released. Try again now: ")
    plan = admin_client.get(message.split('"')[1]).context["plan"]
    assert dict(plan.outcomes) == {"created": 2}


def test_release_requires_the_delete_permission(add: Adds) -> None:
    row = add()
    held = Quarantine.objects.create(source=row, fingerprint=row.fingerprint, message="It took all memory.")
    url = reverse("admin:proxies_quarantine_changelist")
    client = staff_with("proxies.view_quarantine")
    assert client.get(url).status_code == 200
    client.post(url, {"action": "release", "_selected_action": [held.pk]})
    assert Quarantine.objects.exists()


def test_the_front_page_warns_if_no_worker_is_running(admin_client: Client, worker: WorkerState) -> None:
    index = reverse("admin:index")
    assert "No worker is running" not in text_of(admin_client.get(index))
    worker.delete()
    text = text_of(admin_client.get(index))
    assert "No worker is running" in text
    assert "manage.py worker" in text


@pytest.mark.parametrize(
    ("state", "age", "alive"), [("running", 1, True), ("running", 300, False), ("stopped", 1, False)]
)
def test_the_worker_list_shows_which_workers_are_alive(
    admin_client: Client, worker: WorkerState, state: str, age: int, alive: bool
) -> None:
    worker.state, worker.beat_at = state, now() - timedelta(seconds=age)
    worker.save()
    response = admin_client.get(reverse("admin:proxies_workerstate_changelist"))
    assert f'alt="{alive}"' in response.content.decode()
    assert "left, process 1" in text_of(response)


def test_the_admin_address_works_without_trailing_slash(client: Client) -> None:
    response: Any = client.get("/admin")
    assert response.url == "/admin/"

"""Wording in the admin: a single date format, singular and plural, a batch state that shows failures."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from media_files.models import MediaFile
from media_files.tests import pictures
from novaproxy_site.tests.admin_pages import text_of
from proxies.batches import lifecycle
from proxies.batches.selection import Selection
from proxies.models import Batch, Proxy
from proxies.services import ImageProxyService

Adds = Callable[..., MediaFile]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("off")]

LIST = reverse("admin:proxies_batch_changelist")
EVENING = datetime(2026, 11, 22, 18, 5, tzinfo=UTC)


def start(*files: MediaFile, **parameters: Any) -> Batch:
    ids = [file.pk for file in files]
    return lifecycle.start("image-proxy", Selection(MediaFile.objects.all(), ids), parameters)


def ended(batch: Batch, *outcomes: str) -> Batch:
    """Complete the batch, giving its items these outcomes."""
    for item, outcome in zip(batch.items.order_by("id"), outcomes, strict=True):
        batch.items.filter(pk=item.pk).update(
            state="done", outcome=outcome, finished_at=EVENING, message="It ends early."
        )
    Batch.objects.filter(pk=batch.pk).update(
        state="completed", counted_at=None, created_at=EVENING, finished_at=EVENING
    )
    batch.refresh_from_db()
    return batch


def page_of(thing: Any) -> str:
    return reverse(f"admin:{thing._meta.label_lower.replace('.', '_')}_change", args=[thing.pk])


# -- Dates and times ---------------------------------------------------------------------------


def test_every_page_uses_the_same_date_format(admin_client: Client, admin_user: Any, add: Adds) -> None:
    row = add()
    proxy = ImageProxyService().create_proxy(row).proxy
    assert proxy
    batch = ended(start(row), "reused")
    MediaFile.objects.update(created_at=EVENING, updated_at=EVENING, captured_at=EVENING)
    Proxy.objects.update(created_at=EVENING)
    get_user_model().objects.update(last_login=EVENING, date_joined=EVENING)
    items = reverse("admin:proxies_batchitem_changelist")
    for page in (LIST, page_of(batch), items, page_of(row), page_of(proxy), page_of(admin_user)):
        text = text_of(admin_client.get(page))
        if page != page_of(admin_user):  # its form has fields for date and time
            assert "22 Nov 2026, 18:05" in text, page
        assert not re.search(r"\d [ap]\.m\.|noon|midnight", text), page


# -- Completed batches -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcomes", "words", "look"),
    [
        (["created", "reused"], "completed", "np-completed"),
        (["created", "failed"], "completed, 1 failed", "np-partly"),
        (["quarantined", "failed"], "completed, 2 failed", "np-partly"),
    ],
)
def test_a_completed_batch_with_failures_shows_them(
    admin_client: Client, add: Adds, outcomes: list[str], words: str, look: str
) -> None:
    batch = ended(start(*(add(seed=seed) for seed in range(2))), *outcomes)
    for page in (LIST, page_of(batch), reverse("admin:proxies_batch_progress", args=[batch.pk])):
        response = admin_client.get(page)
        shown = response.json()["live"] if "progress" in page else response.content.decode()
        (badge,) = re.findall(r'<span class="np-badge ([\w -]+)"[^>]*>(completed[^<]*)<', shown)
        assert badge == (look, words)


# -- Counts ------------------------------------------------------------------------------------


def test_a_count_of_one_is_singular(admin_client: Client, add: Adds) -> None:
    ImageProxyService().create_proxy(add(seed=1))
    row = add(seed=2)
    page = f"{reverse('admin:media_files_mediafile_operation', args=['image-proxy'])}?ids={row.pk}"
    plan = text_of(admin_client.get(page))
    assert "only 1 earlier proxy to estimate from" in plan
    assert "Start: 1 file to do" in plan
    started: Any = admin_client.post(page, follow=True)
    assert "Started: 1 of 1 file needs work." in text_of(started)
    batch = ended(Batch.objects.get(standing=None), "failed")
    shown = admin_client.get(page_of(batch))
    assert "1 of 1 file done" in text_of(shown)
    assert "Show the 1 file with the outcome failed" in shown.content.decode()


def test_no_page_uses_the_plural_for_a_count_of_one(admin_client: Client, add: Adds) -> None:
    row = add(pictures.corrupt_jpeg(), "bad.jpg")
    batch = ended(start(row), "failed")
    plan = f"{reverse('admin:media_files_mediafile_operation', args=['image-proxy'])}?ids={row.pk}"
    for page in (LIST, page_of(batch), page_of(row), plan, reverse("admin:index")):
        text = text_of(admin_client.get(page))
        assert not re.search(r"(?<![\d,.])1 (files|proxies|failures|batches|originals)\b", text), page


# -- Languages ---------------------------------------------------------------------------------


def test_numbers_follow_the_language_of_the_browser(admin_client: Client, add: Adds) -> None:
    batch = ended(start(add()), "failed")
    Batch.objects.update(
        state="running",
        finished_at=None,
        counted_at=now(),
        counting_seconds=3600,
        counts={"total": 4000, "done": 1234, "failed": 1000, "queued": 2766},
    )
    german: dict[str, Any] = {"headers": {"accept-language": "de"}}
    for page in (LIST, page_of(batch), reverse("admin:index")):
        text = text_of(admin_client.get(page, **german))
        for shown in ("1.234", "4.000", "1.000"):
            assert shown in text, page


# -- The menu ----------------------------------------------------------------------------------


def test_the_menu_hides_the_queues_tables(admin_client: Client) -> None:
    """Batches show what failed, and worker states show who is working."""
    page = admin_client.get(reverse("admin:index")).content.decode()
    assert "/admin/django_q/" not in page
    assert "/admin/proxies/workerstate/" in page

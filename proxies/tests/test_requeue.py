"""Requeueing an item, whether or not its file was queued again in the meantime."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.utils.timezone import now

from media_files.errors import StorageError
from media_files.models import MediaFile
from proxies.batches import lifecycle, recovery
from proxies.batches.claim import UNLEASED, Claim
from proxies.batches.requeue import requeue
from proxies.models import Batch, BatchItem
from proxies.processes.liveness import this_holder
from proxies.tests import library
from proxies.tests.crashing import scan

pytestmark = pytest.mark.django_db(transaction=True)

DEAD = this_holder().rsplit(":", 2)[0] + ":999999:1.00"


@pytest.fixture
def source(settings: Any, folders: Any) -> MediaFile:
    settings.NOVAPROXY_ON_SAVE = "off"
    return MediaFile.objects.create(file=ContentFile(scan(1), "one.tif"))


@pytest.fixture
def claim(source: MediaFile) -> Claim:
    lifecycle.add_to_uploads(source.pk)
    return Claim(Batch.objects.get(standing=Batch.UPLOADS), lambda: False)


def _reclaim_late(claim: Claim, item: BatchItem) -> None:
    BatchItem.objects.filter(pk=item.pk).update(lease_until=now() - timedelta(seconds=1))
    recovery.reclaim_expired()


def _reclaim_dead(claim: Claim, item: BatchItem) -> None:
    BatchItem.objects.filter(pk=item.pk).update(lease_holder=DEAD)
    recovery.reclaim_dead()


DOORS: dict[str, Callable[[Claim, BatchItem], object]] = {
    "put back": lambda claim, item: claim.put_back(item),
    "put back with the rest": lambda claim, item: claim.put_back_the_rest(),
    "the storage fails": lambda claim, item: claim.fail(item, StorageError("away")),
    "a fault without a name": lambda claim, item: claim.failed(item, RuntimeError("odd")),
    "its lease ran out": _reclaim_late,
    "its process died": _reclaim_dead,
}


@pytest.mark.parametrize("door", DOORS)
def test_a_running_item_is_merged_into_the_queued_one_of_its_file(door, source, claim):
    running = next(iter(claim))
    lifecycle.add_to_uploads(source.pk, ["shorter_side"])
    DOORS[door](claim, running)
    left = BatchItem.objects.get()
    assert (left.state, left.reasons, left.pk == running.pk) == ("queued", ["shorter_side"], False)


@pytest.mark.parametrize("door", DOORS)
def test_the_only_item_of_a_file_is_requeued(door, source, claim):
    running = next(iter(claim))
    DOORS[door](claim, running)
    assert BatchItem.objects.get().state == "queued"


MANY = """
from django.db import transaction
from media_files.models import MediaFile
from proxies.batches import lifecycle
from proxies.batches.requeue import requeue
from proxies.batches.claim import UNLEASED
from proxies.models import BatchItem

sources = list(MediaFile.objects.values_list("pk", flat=True))
for source in sources:
    lifecycle.add_to_uploads(source)
uploads = BatchItem.objects.filter(batch__standing="uploads")
uploads.exclude(state="done").update(state="running")
running = BatchItem.objects.filter(pk__in=list(uploads.filter(state="running").values_list("pk", flat=True)))
lifecycle.add_to_uploads(sources[0])
with transaction.atomic():
    print(requeue(running, **UNLEASED))
print(uploads.filter(state="queued").count(), uploads.filter(state="running").count())
"""


def test_many_items_at_once(source):
    lifecycle.add_to_uploads(source.pk)
    other = MediaFile.objects.create(file=ContentFile(scan(2), "two.tif"))
    lifecycle.add_to_uploads(other.pk)
    running = BatchItem.objects.filter(pk__in=list(BatchItem.objects.values_list("pk", flat=True)))
    running.update(state="running")
    lifecycle.add_to_uploads(source.pk)
    assert requeue(running, **UNLEASED) == 2
    assert sorted(BatchItem.objects.values_list("file", "state")) == [
        (source.pk, "queued"),
        (other.pk, "queued"),
    ]


@pytest.mark.postgres
def test_many_items_at_once_in_an_open_transaction_of_postgresql(install):
    installation = install("postgres")
    library.fill(installation, 2, kind="scan")
    assert installation.shell(MANY).split() == ["2", "2", "0"]


AT_ONCE = """
import threading
from django.db import connection, connections, transaction
from media_files.models import MediaFile
from novaproxy_site.tests.installation import wait_for
from proxies.batches import lifecycle
from proxies.batches.claim import Claim
from proxies.models import Batch, BatchItem

source = MediaFile.objects.get().pk
lifecycle.add_to_uploads(source)
claim = Claim(Batch.objects.get(standing="uploads"), lambda: False)
running = next(iter(claim))
added = threading.Event()

def is_blocked():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return cursor.fetchone()[0] > 0

def add():
    with transaction.atomic():
        lifecycle.add_to_uploads(source, ["shorter_side"])
        added.set()
        wait_for(is_blocked, what="the item waits for the uncommitted one of its file")
    connections.close_all()

thread = threading.Thread(target=add)
thread.start()
added.wait()
claim.put_back(running)
thread.join()
print([tuple(item) for item in BatchItem.objects.exclude(state="done").values_list("state", "reasons")])
"""


@pytest.mark.postgres
def test_an_item_queued_at_the_same_moment_wins(install):
    installation = install("postgres")
    library.fill(installation, 1, kind="scan")
    assert installation.shell(AT_ONCE).strip() == "[('queued', ['shorter_side'])]"

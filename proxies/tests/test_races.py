"""Another process acts between two statements: no batch ends with unfinished work that nothing processes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.utils.timezone import now

from media_files.models import MediaFile
from proxies.batches import lifecycle, local_runner, recovery
from proxies.batches.claim import Claim
from proxies.batches.counts import counts_of
from proxies.batches.selection import Selection
from proxies.models import Batch, BatchItem
from proxies.outcomes import Outcome
from proxies.processes.liveness import this_holder
from proxies.tests import library
from proxies.tests.crashing import scan
from proxies.tests.faults import around_sql

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def batch(settings: Any, folders: Any) -> Batch:
    settings.NOVAPROXY_ON_SAVE = "off"
    for seed in range(2):
        MediaFile.objects.create(file=ContentFile(scan(seed), f"number{seed}.tif"))
    return start()


def start() -> Batch:
    return lifecycle.start(
        "image-proxy", Selection(MediaFile.objects.all()), {}, executor=Batch.Executor.LOCAL
    )


def fail_all(batch: Batch) -> None:
    batch.items.update(state="done", outcome="failed", error="corrupt")


def test_a_retry_between_the_check_and_the_end_keeps_the_batch_open(batch):
    fail_all(batch)
    with around_sql(
        'AS "a"', "proxies_batchitem", after=lambda: lifecycle.retry_failed(Batch.objects.get(pk=batch.pk))
    ):
        lifecycle.finish_if_done(batch)
    batch.refresh_from_db()
    assert batch.items.unfinished().count() == 2
    assert batch.state == Batch.State.RUNNING


def test_only_one_of_two_commands_takes_over_a_batch(batch):
    batch = Batch.objects.get(pk=batch.pk)
    others = Batch.objects.filter(pk=batch.pk)
    with (
        around_sql('UPDATE "proxies_batch"', before=lambda: others.update(holder="another")),
        pytest.raises(local_runner.HeldElsewhere),
    ):
        local_runner.take_over(batch)
    assert Batch.objects.get(pk=batch.pk).holder == "another"


def test_a_batch_of_an_unknown_process_is_taken_over_once_its_leases_expire(batch):
    """A process of an older version has no heartbeat, nor has one that ended days ago."""
    Batch.objects.filter(pk=batch.pk).update(holder="other-host:12:345")
    item = batch.items.first()
    items = BatchItem.objects.filter(pk=item.pk)
    items.update(state="running", lease_holder="other-host:12:345", lease_until=now() + timedelta(minutes=1))
    with pytest.raises(local_runner.HeldElsewhere):
        local_runner.take_over(Batch.objects.get(pk=batch.pk))
    items.update(lease_until=now() - timedelta(minutes=1))
    local_runner.take_over(Batch.objects.get(pk=batch.pk))
    assert Batch.objects.get(pk=batch.pk).holder == this_holder()


def test_a_batch_cancelled_while_it_was_written_does_not_start(batch):
    def cancel() -> None:
        lifecycle.cancel(Batch.objects.get(started_at=None))

    with around_sql('"started_at" = ', before=cancel):
        cancelled = start()
    assert (cancelled.state, cancelled.started_at) == (Batch.State.CANCELLED, None)


def test_a_batch_that_has_just_started_is_not_ended(batch):
    Batch.objects.filter(pk=batch.pk).update(started_at=None, created_at="2020-01-01T00:00Z")
    whole = Batch.objects.filter(pk=batch.pk)
    with around_sql('UPDATE "proxies_batch"', before=lambda: whole.update(started_at=batch.created_at)):
        lifecycle.finish_stragglers()
    assert whole.get().state == Batch.State.RUNNING


def test_the_counts_of_a_cancelled_batch_include_running_items(batch):
    claim = Claim(batch, lambda: False)
    item = next(iter(claim))
    lifecycle.cancel(batch)
    assert counts_of(batch, exact=True)["running"] == 2
    claim.record(item, Outcome.CREATED, [])
    claim.put_back_the_rest()
    counts = counts_of(Batch.objects.get(pk=batch.pk), exact=True)
    assert (counts["running"], counts["created"]) == (0, 1)


def test_an_ended_batch_shows_its_end_though_the_clock_was_set_back(batch):
    fail_all(batch)
    lifecycle.finish_if_done(batch)
    lifecycle.retry_failed(batch)
    assert counts_of(batch)["queued"] == 2
    Batch.objects.filter(pk=batch.pk).update(counted_at=now() + timedelta(minutes=10))
    fail_all(batch)
    lifecycle.finish_if_done(batch)
    counts = counts_of(Batch.objects.get(pk=batch.pk))
    assert (counts["queued"], counts["failed"]) == (0, 2)


def test_a_running_batch_is_counted_though_the_clock_was_set_back(batch):
    counts_of(batch)
    Batch.objects.filter(pk=batch.pk).update(
        counted_at=now() + timedelta(minutes=10), recent=[[(now() + timedelta(minutes=10)).timestamp(), 0]]
    )
    fail_all(batch)
    found = Batch.objects.get(pk=batch.pk)
    assert counts_of(found)["failed"] == 2
    assert [done for _, done in found.recent] == [2]


def test_a_count_begun_before_the_end_is_not_kept_as_the_final_count(batch):
    def end() -> None:
        fail_all(batch)
        lifecycle.finish_if_done(Batch.objects.get(pk=batch.pk))

    with around_sql("COUNT(*)", "proxies_batchitem", after=end):
        counts_of(batch, exact=True)
    counts = counts_of(Batch.objects.get(pk=batch.pk))
    assert (counts["queued"], counts["failed"]) == (0, 2)


def test_an_attempt_is_taken_back_only_if_it_was_counted(batch):
    """The lease of a living process expired while it waited."""
    item = next(iter(Claim(batch, lambda: False)))
    BatchItem.objects.filter(pk=item.pk).update(lease_until=batch.created_at, attempts=1)
    assert recovery.reclaim_expired() == 1
    item.refresh_from_db()
    assert (item.state, item.attempts) == ("queued", 1)


TWO_CONNECTIONS = """
import threading
from django.db import connection, connections
from media_files.models import MediaFile
from novaproxy_site.tests.installation import wait_for
from proxies.batches import lifecycle
from proxies.batches.selection import Selection
from proxies.models import Batch, Proxy
from proxies.services import ImageProxyService
from proxies.tests.faults import around_sql

errors = []

def elsewhere(what):
    def run():
        try:
            what()
        except Exception as error:
            errors.append(repr(error))
        finally:
            connections.close_all()
    thread = threading.Thread(target=run)
    thread.start()
    return thread

def is_blocked():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return cursor.fetchone()[0] > 0
"""

RETRY = (
    TWO_CONNECTIONS
    + """
batch = lifecycle.start("image-proxy", Selection(MediaFile.objects.all()), {}, executor="local")
batch.items.update(state="done", outcome="failed", error="corrupt")
threads = []
def retry():
    threads.append(elsewhere(lambda: lifecycle.retry_failed(Batch.objects.get(pk=batch.pk))))
    wait_for(is_blocked, what="the retry waits for the row")
with around_sql("FOR UPDATE", "proxies_batch", after=retry):
    lifecycle.finish_if_done(batch)
threads[0].join()
batch.refresh_from_db()
print(batch.state, batch.items.unfinished().count(), errors)
"""
)

DELETE = (
    TWO_CONNECTIONS
    + """
source = MediaFile.objects.order_by("id")[0]
service = ImageProxyService()
service.create_proxy(source)
threads = []
def delete():
    threads.append(elsewhere(lambda: MediaFile.objects.get(pk=source.pk).delete()))
    wait_for(is_blocked, what="the delete waits for the row")
with around_sql("FOR UPDATE", "media_files_mediafile", after=delete):
    print(service.create_proxy(source, force=True).outcome)
threads[0].join()
print(errors, MediaFile.objects.filter(pk=source.pk).exists(), Proxy.objects.count())
"""
)


@pytest.mark.postgres
def test_a_retry_that_waits_for_the_end_reopens_the_batch(install):
    installation = install("postgres")
    library.fill(installation, 2, kind="scan")
    assert installation.shell(RETRY).split() == ["running", "2", "[]"]


@pytest.mark.postgres
def test_a_forced_proxy_and_a_delete_never_deadlock(install):
    installation = install("postgres")
    library.fill(installation, 1, kind="scan")
    assert installation.shell(DELETE).split() == ["replaced", "[]", "False", "0"]

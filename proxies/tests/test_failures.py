"""Failures of an item are counted, delayed, and finally quarantined, unless the file is not to blame."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import DataError, IntegrityError, OperationalError
from django.utils.timezone import now

from media_files.models import MediaFile
from media_files.storage.base import SourceChanged
from proxies.batches import claim, lifecycle
from proxies.batches.claim import MAX_ATTEMPTS, Claim
from proxies.batches.runner import perform
from proxies.batches.selection import Selection
from proxies.models import Batch, BatchItem, Proxy, ProxyFailure, ProxyLease, Quarantine
from proxies.processes import leases
from proxies.tests import library
from proxies.tests.crashing import scan
from proxies.tests.faults import around_sql, failing_sql, failing_storage

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _long_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make delays long enough not to end before a slow machine has checked them."""
    monkeypatch.setattr(claim, "_FIRST_DELAY", 3600.0)


@pytest.fixture
def batch(settings: Any, folders: Any) -> Batch:
    settings.NOVAPROXY_ON_SAVE = "off"
    for seed in range(3):
        MediaFile.objects.create(file=ContentFile(scan(seed), f"number{seed}.tif"))
    return lifecycle.start(
        "image-proxy", Selection(MediaFile.objects.all()), {}, executor=Batch.Executor.LOCAL
    )


def fault_at(step: str, victim: MediaFile, monkeypatch: Any) -> AbstractContextManager[Any]:
    name = f"number{victim.original_name[6]}"
    match step:
        case "begin":
            return failing_sql(
                DataError("no such value"), "INSERT INTO proxies_proxylease", parameter=victim.pk
            )
        case "fetch":
            unicode_error = UnicodeEncodeError("ascii", "名", 0, 1, "ordinal not in range")
            return failing_storage(monkeypatch, "fetch", unicode_error, name)
        case "store":
            return failing_storage(monkeypatch, "put", RuntimeError("no name"), name)
        case _:
            return failing_sql(
                IntegrityError("a constraint"), 'INSERT INTO "proxies_proxy"', parameter=victim.pk
            )


@pytest.mark.parametrize("step", ["begin", "fetch", "store", "finish"])
def test_an_unnamed_error_is_counted_delayed_and_quarantined(batch, step, monkeypatch):
    victim = MediaFile.objects.order_by("id")[0]
    with fault_at(step, victim, monkeypatch):
        for attempt in range(1, MAX_ATTEMPTS + 1):
            BatchItem.objects.filter(state="queued").update(available_at=now() - timedelta(hours=1))
            perform(Claim(batch, lambda: False))
            item = batch.items.get(file=victim)
            assert item.attempts == attempt
            assert BatchItem.objects.claimable(item.recipe).count() == 0, (
                "it must be delayed, and the others done"
            )
            if attempt < MAX_ATTEMPTS:
                assert (item.state, item.error) == ("queued", "unexpected")
    assert (item.state, item.outcome, item.error) == ("done", "quarantined", "quarantined")
    assert Quarantine.objects.get().source_id == victim.pk
    assert batch.items.filter(outcome="created").count() == 2
    assert Proxy.objects.count() == 2
    assert not ProxyLease.objects.exists()


@pytest.mark.parametrize("words", [["INSERT INTO proxies_proxylease"], ['INSERT INTO "proxies_proxy"']])
def test_a_lost_database_connection_does_not_count_against_the_file(batch, words):
    victim = MediaFile.objects.order_by("id")[0]
    with failing_sql(OperationalError("gone"), *words, parameter=victim.pk), suppress(OperationalError):
        perform(Claim(batch, lambda: False))
    item = batch.items.get(file=victim)
    assert (item.state, item.attempts, item.transient_failures, item.error) == ("queued", 0, 1, "storage")
    assert item.available_at > now()
    perform(Claim(batch, lambda: False))
    assert batch.items.filter(outcome="created").count() == 2


def again(batch: Batch) -> None:
    """End all delays and process the queued items."""
    batch.items.filter(state="queued").update(available_at=now() - timedelta(seconds=1))
    perform(Claim(batch, lambda: False))


def test_an_original_changed_in_place_is_tried_a_few_times_then_fails(batch, monkeypatch):
    changed = SourceChanged("Could not read 'number1.tif'. Register the file again.")
    with failing_storage(monkeypatch, "fetch", changed, "number1"):
        perform(Claim(batch, lambda: False))
        item = batch.items.get(state="queued")
        assert (item.attempts, item.transient_failures, item.available_at > now()) == (0, 1, True)
        for _ in range(SourceChanged.most_tries - 1):
            again(batch)
    item.refresh_from_db()
    assert (item.state, item.outcome, "Register the file again" in item.message) == ("done", "failed", True)
    assert batch.items.filter(outcome="created").count() == 2
    assert not ProxyLease.objects.exists()
    assert not ProxyFailure.objects.exists()


def test_a_lease_lost_during_rendering_is_counted_and_delayed(batch):
    first = batch.items.order_by("id")[0]
    lease = ProxyLease.objects.filter(source_id=first.file_id)
    with around_sql("INSERT INTO proxies_proxylease", after=lease.delete):
        perform(Claim(batch, lambda: False))
    first.refresh_from_db()
    assert (first.state, first.attempts, first.transient_failures) == ("queued", 0, 1)
    assert first.available_at > now()
    again(batch)
    assert batch.items.filter(outcome__in=["created", "replaced"]).count() == 3


def test_a_proxy_that_another_process_is_making_is_counted_and_awaited(batch):
    source = MediaFile.objects.order_by("id")[0]
    token = leases.acquire(source.pk, "nova")
    perform(Claim(batch, lambda: False))
    item = batch.items.get(file=source)
    assert (item.state, item.attempts, item.transient_failures) == ("queued", 0, 1)
    assert item.available_at > now()
    assert token is not None
    leases.release(source.pk, "nova", token)
    again(batch)
    assert batch.items.filter(outcome="created").count() == 3


STOPPED = """
import os
from pathlib import Path
from novaproxy_site.tests.installation import wait_for
from media_files.models import MediaFile
from proxies.batches import lifecycle, recovery
from proxies.batches.selection import Selection
from proxies.batches.claim import Claim
from proxies.models import BatchItem
from proxies.processes.control_dir import VARIABLE, ControlDir
batch = lifecycle.start("image-proxy", Selection(MediaFile.objects.all()), {}, executor="local")
control_dir = ControlDir(Path(os.environ["NOVAPROXY_DATA_DIR"]) / "control_dir:1:1")
control_dir.reset()
os.environ[VARIABLE] = str(control_dir.folder)
items = iter(claim := Claim(batch, lambda: False))
item = next(items)
claim.charge(item)
charged = BatchItem.objects.filter(attempts__gt=0)
assert charged.exists()
control_dir.ask_to_stop()
recovery.forgive_when_stopped()
wait_for(lambda: not charged.exists(), what="the charge is taken back")
later = next(items)
assert claim.charge(later)
assert not charged.exists()
print("nothing is charged")
"""


@pytest.mark.every_backend
def test_a_stopping_worker_counts_no_attempt(installation):
    """If it is killed at the end of its grace period, no attempt counts against the file."""
    library.fill(installation, 2, kind="scan")
    assert "nothing is charged" in installation.shell(STOPPED)


def test_a_kind_of_delay_is_logged_once_per_batch(batch, monkeypatch, caplog):
    with caplog.at_level(logging.WARNING), fault_at("store", MediaFile.objects.all()[0], monkeypatch):
        for _ in range(2):
            BatchItem.objects.update(available_at=now() - timedelta(hours=1))
            perform(Claim(batch, lambda: False))
    reported = [record.getMessage() for record in caplog.records if "delays files" in record.getMessage()]
    assert len(reported) == 1
    assert batch.job_id in reported[0]
    assert "RuntimeError: no name" in reported[0]

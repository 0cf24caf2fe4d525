"""A plan predicts what a run will do, in words and in bytes, and reads only rows."""

from __future__ import annotations

import io

import pytest
from django.core.files.base import ContentFile
from PIL import Image

from media_files.models import MediaFile
from proxies.batches import lifecycle, runner, selection
from proxies.batches.claim import Claim
from proxies.batches.selection import Selection
from proxies.models import Batch, BatchItem, Proxy, ProxyFailure, Quarantine
from proxies.tests.crashing import photo

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _off(settings):
    settings.NOVAPROXY_ON_SAVE = "off"


def add(name: str, data: bytes) -> MediaFile:
    return MediaFile.objects.create(file=ContentFile(data, name))


def small() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (300, 200), "red").save(stream, "JPEG")
    return stream.getvalue()


def plan(**parameters):
    return lifecycle.plan("image-proxy", Selection(MediaFile.objects.all()), parameters)


def run(files=None, **parameters) -> Batch:
    chosen = MediaFile.objects.all() if files is None else files
    batch = lifecycle.start("image-proxy", Selection(chosen), parameters, executor=Batch.Executor.LOCAL)
    runner.perform(Claim(batch, lambda: False))
    lifecycle.finish_if_done(batch)
    return batch


@pytest.fixture
def mixed() -> list[MediaFile]:
    """One file of each outcome: up to date, outdated, new, not needed, a video, quarantined."""
    files = [add(f"{seed}.jpg", photo(seed)) for seed in range(4)]
    run(MediaFile.objects.filter(pk__in=[files[0].pk, files[1].pk]))
    Proxy.objects.filter(source=files[1]).update(recipe="older")
    Quarantine.objects.create(source=files[3], fingerprint=files[3].fingerprint, message="thrice")
    files.append(add("small.jpg", small()))
    files.append(MediaFile.objects.create(file="there.mp4", file_type="video", bytes=9))
    return files


def test_each_outcome_is_predicted_and_comes_true(mixed):
    expected = {"reused": 1, "replaced": 1, "created": 1, "quarantined": 1, "skipped": 1, "failed": 1}
    assert dict(plan().outcomes) == expected
    batch = run()
    outcomes = dict(BatchItem.objects.filter(batch=batch).values_list("file_id", "outcome"))
    assert [outcomes[file.pk] for file in mixed] == [
        "reused", "replaced", "created", "quarantined", "skipped", "failed",
    ]  # fmt: skip
    assert batch.state == Batch.State.COMPLETED


def test_finished_items_give_their_reason(mixed):
    run()
    said = {
        item.file_id: (item.reasons, item.error, item.message)
        for item in BatchItem.objects.order_by("id").exclude(outcome__in=["created", "replaced"])
    }
    assert said[mixed[4].pk] == (["not_needed"], "", "")
    assert said[mixed[5].pk][1] == "not_an_image"
    assert said[mixed[3].pk] == (["shorter_side"], "quarantined", "thrice")


def test_force_replaces_only_the_current_proxies(mixed):
    assert dict(plan(force=True).outcomes) == {
        "replaced": 2, "created": 1, "quarantined": 1, "skipped": 1, "failed": 1,
    }  # fmt: skip


def test_disk_space_and_bytes_to_send_are_counted_separately(mixed):
    for seed in range(10, 14):
        add(f"{seed}.jpg", photo(seed))
    run(MediaFile.objects.filter(pk__gt=mixed[-1].pk))
    said = plan()
    kept = sum(p.bytes for p in Proxy.objects.exclude(source=mixed[1]))
    replaced = Proxy.objects.get(source=mixed[1]).bytes
    assert said.bytes_kept == kept
    assert said.bytes_replaced == replaced
    assert said.bytes_disk_added == said.forecast.bytes - replaced
    sent_for = [mixed[0], mixed[1], mixed[2], *MediaFile.objects.filter(pk__gt=mixed[-1].pk)]
    assert said.bytes_to_send == sum(file.bytes for file in sent_for)
    assert said.bytes_not_sent == said.bytes_to_send - kept - said.forecast.bytes


@pytest.mark.parametrize("number", [1, 4], ids=["fewer than a sample", "a sample"])
def test_the_size_of_an_unchanged_proxy_is_known_not_estimated(number):
    for seed in range(number):
        add(f"{seed}.jpg", photo(seed))
    run()
    stands = sum(proxy.bytes for proxy in Proxy.objects.all())
    said = plan(force=True)
    assert said.outcomes["replaced"] == number
    assert (said.forecast.low, said.forecast.bytes, said.forecast.high) == (stands, stands, stands)
    assert (said.bytes_proxies, said.bytes_disk_added) == (stands, 0)


def test_a_forced_plan_estimates_only_the_unknown_sizes():
    files = [add(f"{seed}.jpg", photo(seed)) for seed in range(7)]
    run(MediaFile.objects.exclude(pk=files[6].pk))
    Proxy.objects.filter(source=files[0]).update(recipe="older")
    Proxy.objects.filter(source=files[1]).update(source_fingerprint="of other bytes")
    unforced, forced = plan(), plan(force=True)
    known = sum(proxy.bytes for proxy in Proxy.objects.filter(source__in=files[2:6]))
    assert (unforced.outcomes["replaced"], forced.outcomes["replaced"]) == (2, 6)
    rest, all_of_it = unforced.forecast, forced.forecast
    assert (all_of_it.low, all_of_it.bytes, all_of_it.high) == (
        rest.low + known, rest.bytes + known, rest.high + known,
    )  # fmt: skip
    assert forced.bytes_proxies == unforced.bytes_proxies
    assert forced.bytes_disk_added == unforced.bytes_disk_added


def test_a_proxy_of_another_profile_gives_no_known_size(settings):
    settings.NOVAPROXY_PROFILES = {"small": {"shorter_side": 200}}
    for seed in range(4):
        add(f"{seed}.jpg", photo(seed))
    run()
    said = plan(force=True, profile="small")
    assert said.outcomes["created"] == 4
    assert said.forecast.bytes is None


def test_rows_that_were_never_inspected_are_counted_separately():
    MediaFile.objects.bulk_create([MediaFile(file="somewhere.jpg", original_name="somewhere.jpg")])
    said = plan()
    assert (dict(said.outcomes), said.unknown_facts, dict(said.reasons)) == ({"created": 1}, 1, {})


@pytest.mark.parametrize("rows", [0, 4, 5, 11])
def test_every_page_is_read_once(monkeypatch, rows, django_assert_num_queries):
    monkeypatch.setattr(selection, "PAGE", 5)
    MediaFile.objects.bulk_create(
        MediaFile(file=f"{n}.jpg", width=100, height=100, bytes=9, format="JPEG") for n in range(rows)
    )
    pages = rows // 5 + 1
    # Per page: its end, its sums, its existing proxies; and the sample once.
    with django_assert_num_queries(3 * pages + 1):
        assert plan().total == rows
    batch = lifecycle.start("image-proxy", Selection(MediaFile.objects.all()), {})
    assert batch.items.count() == rows


def test_an_empty_selection_is_a_completed_batch():
    batch = lifecycle.start("image-proxy", Selection(MediaFile.objects.none()), {})
    assert (batch.state, batch.items.count()) == (Batch.State.COMPLETED, 0)


def test_a_selection_may_be_a_list_of_ids_of_any_length():
    files = [add(f"{seed}.jpg", photo(seed)) for seed in range(3)]
    ids = [files[2].pk, files[0].pk, files[2].pk, *range(10**6, 10**6 + 50_000)]
    said = lifecycle.plan("image-proxy", Selection(MediaFile.objects.all(), ids), {})
    assert said.total == 2


def test_a_failed_file_is_planned_as_failed_and_not_retried_unasked():
    broken = add("broken.jpg", photo(1)[: len(photo(1)) // 2])
    good = add("good.jpg", photo(2))
    assert dict(plan().outcomes) == {"created": 2}, "its header is valid"
    run(MediaFile.objects.filter(pk=broken.pk))
    assert dict(plan().outcomes) == {"failed": 1, "created": 1}
    batch = run()
    failed = BatchItem.objects.get(batch=batch, file=broken)
    assert (failed.outcome, failed.error, failed.attempts) == ("failed", "corrupt", 0)
    assert "damaged" in failed.message
    assert dict(plan(force=True).outcomes) == {"created": 1, "replaced": 1}, "force must retry it"
    lifecycle.retry_failed(batch)
    runner.perform(Claim(batch, lambda: False))
    failed.refresh_from_db()
    assert (failed.outcome, failed.attempts) == ("failed", 1), "a retry must retry it too"
    broken.file = ContentFile(photo(1), "whole.jpg")
    broken.save()
    assert dict(plan().outcomes) == {"created": 1, "reused": 1}, "a new file starts afresh"
    run()
    assert ProxyFailure.objects.count() == 0
    assert Proxy.objects.filter(source__in=[broken, good]).count() == 2

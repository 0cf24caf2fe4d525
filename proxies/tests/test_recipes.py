"""Workers with different settings take only items they can make as planned, and report differences."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.utils.timezone import now

from media_files.models import MediaFile
from novaproxy_site.tests.installation import Installation
from proxies.batches import lifecycle, local_runner, runner
from proxies.batches.claim import Claim
from proxies.batches.selection import Selection
from proxies.batches.sweeper import sweep
from proxies.conf import conf
from proxies.models import Batch, BatchItem, Proxy, WorkerState
from proxies.processes import shared_settings
from proxies.processes.shared_settings import BUCKETS, SHARED
from proxies.rendering.profiles import NOVA, recipe_difference
from proxies.tests import library
from proxies.tests.crashing import photo
from proxies.tests.driving import RunningWorker

OTHER = replace(NOVA, shorter_side=512).recipe


@pytest.fixture(autouse=True)
def _off(settings):
    settings.NOVAPROXY_ON_SAVE = "off"


@pytest.fixture
def files(db):
    for seed in range(3):
        MediaFile.objects.create(file=ContentFile(photo(seed), f"{seed}.jpg"))


def start(**options) -> Batch:
    return lifecycle.start("image-proxy", Selection(MediaFile.objects.all()), {}, **options)


def a_worker(*, host: str = "left", **values) -> WorkerState:
    values = {"recipes": shared_settings.recipes(), "settings": shared_settings.digests()} | values
    return WorkerState.objects.create(
        process=f"{host}:0:1:1", host=host, pid=1, started_at=now(), beat_at=now(), state="running", **values
    )


def recipes_of(batch: Batch) -> set[str]:
    return set(batch.items.values_list("recipe", flat=True))


def with_other_items() -> Batch:
    """Start a batch with the recipe of a 512 px target."""
    batch = start()
    batch.items.update(recipe=OTHER)
    return batch


def test_items_keep_the_recipe_they_were_planned_with(files, settings):
    batch = start()
    assert recipes_of(batch) == {conf().nova.recipe} == {NOVA.recipe}
    lifecycle.add_to_uploads(MediaFile.objects.earliest("id").pk)
    assert recipes_of(Batch.objects.get(standing="uploads")) == {conf().nova.recipe}
    rekognition = lifecycle.start(
        "image-proxy", Selection(MediaFile.objects.all()), {"profile": "rekognition"}
    )
    assert recipes_of(rekognition) == {conf().profiles["rekognition"].recipe}
    settings.NOVAPROXY_TARGET = 512
    assert recipes_of(start()) == {OTHER}


@pytest.mark.django_db(transaction=True)
def test_a_worker_takes_items_of_its_own_recipe_or_of_none(files):
    batch = start()
    first, second, _ = batch.items.order_by("id")
    batch.items.filter(pk=first.pk).update(recipe=OTHER)
    batch.items.filter(pk=second.pk).update(recipe="")
    assert runner.due_batch() == batch
    runner.perform(Claim(batch, lambda: False))
    states = list(batch.items.order_by("id").values_list("state", flat=True))
    assert states == ["queued", "done", "done"]
    assert runner.due_batch() is None, "the queued item is for other workers"
    assert set(Proxy.objects.values_list("recipe", flat=True)) == {conf().nova.recipe}


def test_a_batch_that_no_worker_fits_pauses_and_explains_the_difference(files, caplog):
    a_worker()
    batch = with_other_items()
    sweep()
    batch.refresh_from_db()
    assert (batch.state, batch.paused_code) == ("paused", "wrong_recipe")
    assert "shorter side 896 instead of 512" in batch.paused_reason
    assert "resume" in batch.paused_reason
    assert batch.paused_reason in caplog.text


def test_it_resumes_by_itself_once_a_worker_fits(files):
    worker = a_worker()
    batch = with_other_items()
    sweep()
    a_worker(host="right", recipes={"nova": OTHER})
    sweep()
    batch.refresh_from_db()
    assert (batch.state, batch.paused_code, batch.paused_reason) == ("running", "", "")
    worker.delete()
    assert recipes_of(batch) == {OTHER}


def test_resuming_it_by_hand_applies_the_current_settings(files, admin_user):
    a_worker()
    batch = with_other_items()
    sweep()
    batch.refresh_from_db()
    lifecycle.resume(batch, by=admin_user)
    assert recipes_of(batch) == {conf().nova.recipe}
    sweep()
    batch.refresh_from_db()
    assert batch.state == "running"


def test_a_batch_paused_by_a_person_keeps_its_recipe(files, admin_user):
    batch = with_other_items()
    lifecycle.pause(batch, by=admin_user)
    lifecycle.resume(batch, by=admin_user)
    assert recipes_of(batch) == {OTHER}


def test_a_batch_that_no_worker_fits_is_paused_before_it_is_claimed(files):
    a_worker(recipes={"nova": OTHER})
    batch = start()
    assert (batch.state, batch.paused_code) == ("paused", "wrong_recipe")


@pytest.mark.parametrize("state", ["running", "starting"])
def test_nothing_pauses_where_no_worker_runs(files, state):
    if state != "running":
        a_worker(recipes={"nova": OTHER})
        WorkerState.objects.update(state=state)
    batch = start()
    sweep()
    batch.refresh_from_db()
    assert batch.state == "running"


def test_uploads_adopt_the_current_recipe(files):
    a_worker()
    for file in MediaFile.objects.all():
        lifecycle.add_to_uploads(file.pk)
    uploads = Batch.objects.get(standing="uploads")
    first, second, _ = uploads.items.order_by("id")
    uploads.items.update(recipe=OTHER)
    uploads.items.filter(pk=second.pk).update(recipe="")
    sweep()
    uploads.refresh_from_db()
    assert uploads.state == "running"
    assert recipes_of(uploads) == {conf().nova.recipe}
    a_worker(host="right", recipes={"nova": OTHER})
    uploads.items.filter(pk=first.pk).update(recipe=OTHER)
    sweep()
    assert recipes_of(uploads) == {conf().nova.recipe, OTHER}, "each recipe has a worker"


def test_a_retry_uses_the_current_settings(files):
    batch = with_other_items()
    batch.items.update(state=BatchItem.State.DONE, outcome="failed")
    lifecycle.retry_failed(batch)
    assert recipes_of(batch) == {conf().nova.recipe}


@pytest.mark.django_db(transaction=True)
def test_a_command_that_resumes_a_batch_uses_its_own_settings(files):
    batch = start(executor=Batch.Executor.LOCAL)
    batch.items.update(recipe=OTHER)
    a_worker()
    sweep()
    batch.refresh_from_db()
    assert batch.state == "running", "workers do not affect a command's batch"
    local_runner.take_over(batch)
    local_runner.run(batch, 1, lambda: None)
    assert batch.state == "completed"
    assert recipes_of(batch) == {conf().nova.recipe}


# -- Workers of an older version ---------------------------------------------------------------


def test_batches_wait_while_a_worker_without_recipes_runs(files):
    """It would take items of any recipe: its query asks for no more than this."""
    old = a_worker(host="old", recipes=None, settings=None)
    a_worker(host="new")
    batch = start()
    assert (batch.state, batch.paused_code) == ("paused", "wrong_recipe")
    assert "worker on old" in batch.paused_reason
    takes = Batch.objects.filter(state="running", started_at__isnull=False, items__state="queued")
    assert not takes.exists()
    old.beat_at -= timedelta(minutes=3)
    old.save()
    sweep()
    assert takes.exists()


def test_every_worker_takes_batches_of_the_older_version(files):
    a_worker(host="old", recipes=None, settings=None)
    batch = start()
    BatchItem.objects.update(recipe="")
    sweep()
    batch.refresh_from_db()
    assert batch.state == "running"
    assert runner.due_batch() == batch


# -- How differences are reported --------------------------------------------------------------


def test_recipes_are_compared_in_words():
    version = NOVA.recipe_version + 1
    other = replace(NOVA, shorter_side=None, longest_side=4000, recipe_version=version).recipe
    assert recipe_difference(
        NOVA.recipe, [NOVA.recipe.replace("q85", "q90"), "rekognition-anyx4096-q90-v3"]
    ) == ("quality 90 instead of 85")
    assert recipe_difference(NOVA.recipe, [other]) == (
        "shorter side any instead of 896, longest side 4000 instead of 8000, "
        f"version of the rendering code {version} instead of {NOVA.recipe_version}"
    )
    assert recipe_difference("moon-1x1-q1-v3", [NOVA.recipe]) == "none of them has the profile 'moon'"


def test_differing_settings_are_named_but_their_values_not_shown(db, settings, caplog):
    settings.NOVAPROXY_BROKER = "redis://:password@there:6379/0"
    worker = a_worker(host="right")
    assert shared_settings.difference_in_words(worker) == ""
    assert "password" not in json.dumps(worker.settings)
    settings.NOVAPROXY_BROKER = "redis://:another@there:6379/0"
    settings.NOVAPROXY_TARGET = 512
    reported: set[tuple[int, str]] = set()
    with caplog.at_level(logging.WARNING):
        shared_settings.warn([worker], reported)
        shared_settings.warn([worker], reported)
    (record,) = caplog.records
    assert "worker on right" in record.getMessage()
    assert "NOVAPROXY_BROKER, NOVAPROXY_TARGET" in record.getMessage()
    assert "shorter side 896 instead of 512" in record.getMessage()
    assert "another" not in record.getMessage()


def test_a_different_secret_key_is_the_only_difference_reported(db, settings):
    worker = a_worker()
    settings.SECRET_KEY = "another"
    assert shared_settings.difference_in_words(worker) == "Other values of SECRET_KEY."


def test_the_documents_list_every_setting_that_machines_share():
    text = (Path(__file__).parents[2] / "docs/scaling.md").read_text()
    names = [*SHARED, "SECRET_KEY", *(f"{prefix}BUCKET" for prefix in BUCKETS.values())]
    assert [name for name in names if f"`{name}`" not in text] == []


# -- Real workers ------------------------------------------------------------------------------


@pytest.mark.every_backend
def test_two_workers_with_different_targets_share_a_queue(
    installation: Installation, run_worker: Callable[..., RunningWorker]
) -> None:
    library.fill(installation, 40)
    small = Installation(installation.folder, **installation.environment)
    small.environment["NOVAPROXY_TARGET"] = "512"
    workers = [run_worker(installation, workers=1), run_worker(small, workers=1)]
    library.wait_for_workers(installation, workers[0], 2)
    try:
        batches = {library.start(installation): NOVA.recipe, library.start(small): OTHER}
        for batch, recipe in batches.items():
            library.wait_until_done(installation, batch, sweeping=True)
            made = installation.shell(f"""
                import json
                from proxies.models import BatchItem
                found = BatchItem.objects.filter(batch={batch}).values_list("recipe", "lease_holder")
                print(json.dumps(list(found)))
            """)
            by = Counter(tuple(item) for item in json.loads(made))
            assert {made_by for made_by, _ in by} == {recipe}
            assert len(by) == 1, f"only one of the two may make {recipe}: {by}"
        workers[0].wait_for(
            lambda: any("Other values of NOVAPROXY_TARGET" in worker.read_output() for worker in workers),
            what="the difference to be told",
        )
        workers[1].stop()
        alone = library.start(small, force=True)
        assert library.state(installation, alone) == "paused", "the only worker for it is gone"
    finally:
        small.close()

"""Kill and stop workers, their processes and commands in the middle of a batch, at chosen places.

The place of a kill is exact: the processes halt there (`proxies.tests.halting`).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from novaproxy_site.tests.installation import Installation, wait_for
from novaproxy_site.tests.servers import S3Bucket
from proxies.tests import library
from proxies.tests.driving import RunningWorker
from proxies.tests.halting import COMMIT, DECODE, PUT, STORAGE_FAILS, STORED, Halts

PICTURES = 300
# Long enough for any machine to finish its current images.
GRACE = ("--grace", "25")


class Siege:
    """Two workers on one batch; the first of them is attacked.

    Only images that are let through pass the decoder, so that the batch cannot end before the last kill,
    however
    long the attacks take.
    """

    def __init__(self, installation: Installation, run_worker: Callable[..., RunningWorker]) -> None:
        library.fill(installation, PICTURES, kind="scan")
        self.installation = installation
        self.halts = Halts(installation)
        self.workers = [run_worker(installation, "--grace", "2", workers=count) for count in (2, 1)]
        library.wait_for_workers(installation, self.workers[0], 2)
        for worker in reversed(self.workers):
            self.parts = worker.parts()
        self.batch = 0
        self.kills = 0

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Start the batch; after the block, let all images pass."""
        with self.halts.wanting(DECODE):
            self.batch = library.start(self.installation)
            yield
            assert library.done(self.installation, self.batch) < PICTURES, (
                "the batch ended before the last kill"
            )

    def kill_busy(self, place: str) -> None:
        """Kill the first worker process that reaches ``place``, whichever it is."""
        with self.halts.at(place) as victim:
            held = library.in_hand(self.installation, self.batch)
            assert held
            victim.kill()
        self._assert_recovered(held)

    def kill_part(self, name: str) -> None:
        """Kill a process of the first worker's cluster while worker processes are decoding."""
        self._kill_decoding(self.parts[name].kill)

    def kill_cluster(self) -> None:
        """Kill the whole cluster at once."""
        self._kill_decoding(lambda: os.killpg(self.parts["main"].pid, signal.SIGKILL))

    def _kill_decoding(self, kill: Callable[[], None]) -> None:
        with self.halts.at(DECODE):
            held = library.in_hand(self.installation, self.batch)
            assert held
            kill()
        self._assert_recovered(held)

    def kill_idle(self) -> None:
        """Pause the batch, kill an idle worker process, and resume."""
        self._have("pause")
        with self.halts.wanting(""):
            self._wait(lambda: not library.in_hand(self.installation, self.batch), "nothing to be in hand")
            self._wait(lambda: library.lanes_at_work(self.installation) == 0, "all to be idle")
        self.parts["worker 0"].kill()
        self._assert_replaced()
        self._have("resume")
        done = library.done(self.installation, self.batch)
        self._let_pass_until(lambda: library.done(self.installation, self.batch) > done, "it to go on")

    def _assert_recovered(self, held: set[int]) -> None:
        """Assert that the cluster is replaced, and that after one sweep all claimed items get done."""
        self._assert_replaced()
        library.let_a_minute_pass(self.installation)

        def are_done() -> bool:
            # Otherwise the batch could end while one item waits for the lease of a process that died late.
            library.end_delays(self.installation, self.batch, held)
            return library.are_done(self.installation, self.batch, held)

        self._let_pass_until(are_done, "what was in hand to be done")

    def _assert_replaced(self) -> None:
        self.kills += 1
        self._wait(
            lambda: sum(worker.read_output().count("Restarting in") for worker in self.workers) == self.kills,
            "the supervisor to notice",
        )
        for worker in reversed(self.workers):
            self.parts = worker.parts()

    def _let_pass_until(self, condition: Callable[[], bool], what: str) -> None:
        def is_met() -> bool:
            self.halts.let_pass(3)
            return condition()

        self._wait(is_met, what)

    def _have(self, change: str) -> None:
        self.installation.shell(f"""
            from proxies.batches import lifecycle
            from proxies.models import Batch
            lifecycle.{change}(Batch.objects.get(pk={self.batch}))
        """)

    def _wait(self, condition: Callable[[], Any], what: str) -> None:
        self.workers[0].wait_for(condition, seconds=180, what=what)


@pytest.mark.every_backend
def test_each_process_is_killed_while_two_workers_share_a_batch(
    installation: Installation, run_worker: Callable[..., RunningWorker]
) -> None:
    siege = Siege(installation, run_worker)
    with siege.under_way():
        for place in (DECODE, PUT, COMMIT):
            siege.kill_busy(place)
        siege.kill_idle()
        for part in ("main", "sentinel", "monitor", "pusher"):
            siege.kill_part(part)
        siege.kill_cluster()
    library.wait_until_done(installation, siege.batch)
    outcomes = library.outcomes(installation, siege.batch)
    assert set(outcomes) <= library.MADE
    assert outcomes.total() == PICTURES
    library.assert_in_order(installation, siege.batch, *siege.workers)


@pytest.mark.parametrize("backend", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_workers_are_killed_while_their_files_are_in_buckets(
    install: Callable[..., Installation],
    bucket: S3Bucket,
    run_worker: Callable[..., RunningWorker],
    backend: str,
) -> None:
    places = bucket.environment("originals", "library") | bucket.environment("proxies", "small")
    installation = install(backend, **places)
    siege = Siege(installation, run_worker)
    with siege.under_way():
        for place in (DECODE, PUT, STORED, COMMIT):
            siege.kill_busy(place)
        siege.kill_cluster()
    library.wait_until_done(installation, siege.batch)
    assert set(library.outcomes(installation, siege.batch)) <= library.MADE
    library.assert_in_order(installation, siege.batch, *siege.workers)
    assert len(bucket.keys("small/")) == len(bucket.keys("library/")) == PICTURES


@pytest.mark.every_backend
def test_the_supervisor_is_stopped_mid_batch_and_another_continues(
    installation: Installation, run_worker: Callable[..., RunningWorker]
) -> None:
    library.fill(installation, 200)
    halts = Halts(installation)
    batch = library.start(installation)
    for number, group in [
        *((signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGINT, False), (signal.SIGINT, True)),
        *((signal.SIGKILL, False), (signal.SIGKILL, True)),
    ]:
        worker = run_worker(installation, *GRACE)
        with halts.at(DECODE):
            (os.killpg if group else os.kill)(worker.supervisor.pid, number)
            code = worker.supervisor.wait(120)
        wait_for(lambda: not library.others(installation), seconds=60, what="no process to be left")
        items = library.items(installation, batch)
        assert any(item["state"] != "done" for item in items), "the batch ended before the worker did"
        if number != signal.SIGKILL:
            assert code == 0
            assert {(item["state"], item["attempts"]) for item in items} <= {("done", 1), ("queued", 0)}, (
                "a stop must release every item and count no attempt"
            )
        else:
            assert code == -signal.SIGKILL
            assert any(item["state"] == "running" for item in items), "it must be killed while it holds items"
    last = run_worker(installation)
    library.let_a_minute_pass(installation)
    library.wait_until_done(installation, batch)
    assert set(library.outcomes(installation, batch)) <= library.MADE
    library.assert_in_order(installation, batch, last)


@pytest.mark.every_backend
def test_the_command_is_stopped_mid_run_and_the_next_run_continues(installation: Installation) -> None:
    pictures, batch = 120, 1
    library.fill(installation, pictures)
    halts = Halts(installation)

    def is_gone() -> bool:
        halts.let_pass(2)  # its workers finish their current items
        return not library.others(installation)

    for end, number in [(os.killpg, signal.SIGINT), (os.kill, signal.SIGINT), (os.kill, signal.SIGKILL)]:
        command = installation.popen("create_image_proxies", "--no-dry-run", "--force")
        with halts.at(DECODE):
            end(command.pid, number)
            # This includes the workers of a killed command: they notice that their parent is gone and exit.
            wait_for(is_gone, seconds=120, what="no process to be left")
        assert command.wait() == (130 if number == signal.SIGINT else -signal.SIGKILL)
        assert 0 < library.done(installation, batch) < pictures
    installation.manage("create_image_proxies", "--no-dry-run", "--force")
    assert library.outcomes(installation, batch) == {"created": pictures}, "it must resume the same batch"
    library.assert_in_order(installation, batch)


@pytest.mark.every_backend
def test_an_original_is_changed_while_its_proxy_is_made(
    installation: Installation, run_worker: Callable[..., RunningWorker]
) -> None:
    """Replace it, delete it, or delete its lease: during the decode, and between the put and the commit."""
    halts = Halts(installation)
    worker = run_worker(installation, workers=1)
    worker.parts()
    for place in (DECODE, STORED):
        library.fill(installation, 8, kind="scan")
        with halts.wanting(place):
            batch = library.start(installation)
            halts.first(place)
            fates = installation.shell("""
                from django.core.files.base import ContentFile
                from media_files.models import MediaFile
                from proxies.models import ProxyLease
                from proxies.tests.crashing import scan
                replaced, deleted, unleased = ProxyLease.objects.order_by("source_id")[:3]
                row = MediaFile.objects.get(pk=replaced.source_id)
                row.file = ContentFile(scan(1000 + row.pk), "other.tif")
                row.save()
                MediaFile.objects.get(pk=deleted.source_id).delete()
                unleased.delete()
                print(replaced.source_id, deleted.source_id, unleased.source_id)
            """)
            replaced, deleted, unleased = map(int, fates.split())
        library.wait_until_done(installation, batch, sweeping=True)
        ends = {item["file_id"]: item for item in library.items(installation, batch)}
        assert ends[replaced]["outcome"] in library.MADE
        assert (ends[deleted]["outcome"], ends[deleted]["error"]) == ("failed", "source_missing")
        assert ends[unleased]["outcome"] in library.MADE
    current = installation.shell("""
        from media_files.models import MediaFile
        from proxies.conf import conf
        from proxies.models import Proxy
        print(Proxy.objects.current(conf().profiles["nova"]).count(), MediaFile.objects.count())
    """)
    assert current == "14 14\n"
    library.assert_in_order(installation, batch, worker)


@pytest.mark.every_backend
def test_a_storage_that_fails_between_the_put_and_the_commit(
    installation: Installation, run_worker: Callable[..., RunningWorker]
) -> None:
    library.fill(installation, 12, kind="scan")
    halts = Halts(installation)
    worker = run_worker(installation, workers=1)
    worker.parts()
    with halts.wanting(STORAGE_FAILS):
        batch = library.start(installation)
        worker.wait_for(
            lambda: any(item["transient_failures"] for item in library.items(installation, batch)),
            seconds=60,
            what="an item to come back",
        )
        left = installation.shell("""
            from proxies.models import DiscardedProxy, Proxy, proxies_storage
            names = [note.name for note in DiscardedProxy.objects.all()]
            print(any(proxies_storage().exists(name) for name in names), Proxy.objects.exists())
        """)
        assert left == "True False\n", "the file must exist with a note, but without a row"
        assert not [item for item in library.items(installation, batch) if item["state"] == "done"]
    library.wait_until_done(installation, batch, sweeping=True)
    assert library.outcomes(installation, batch) == {"created": 12}
    library.assert_in_order(installation, batch, worker)


@pytest.mark.every_backend
def test_a_file_that_takes_too_much_memory_is_quarantined_and_the_other_299_are_done(
    installation: Installation, run_worker: Callable[..., RunningWorker]
) -> None:
    installation.environment["NOVAPROXY_MAX_MEMORY"] = "220"
    library.fill(installation, 20, kind="scan")
    large = int(
        installation.shell("""
            import io
            from django.core.files.base import ContentFile
            from django.test import override_settings
            from PIL import Image
            from media_files.models import MediaFile
            from proxies.tests.crashing import scan
            stream = io.BytesIO()
            # A few hundred kilobytes, and half a gigabyte once they are decoded.
            Image.new("RGB", (14_000, 10_000), "teal").save(stream, "PNG")
            with override_settings(NOVAPROXY_ON_SAVE="off"):
                print(MediaFile.objects.create(file=ContentFile(stream.getvalue(), "large.png")).pk)
                for seed in range(1000, 1279):
                    MediaFile.objects.create(file=ContentFile(scan(seed), f"{seed}.tif"))
        """)
    )
    worker = run_worker(installation)
    worker.parts()
    batch = library.start(installation)
    library.wait_until_done(installation, batch, sweeping=True)
    items = {item["file_id"]: item for item in library.items(installation, batch)}
    culprit = items.pop(large)
    assert (culprit["outcome"], culprit["error"], culprit["attempts"]) == ("quarantined", "quarantined", 3)
    assert len(items) == 299
    assert {item["outcome"] for item in items.values()} <= library.MADE
    assert max(item["attempts"] for item in items.values()) == 1, (
        "no attempt may be counted for other items of its tick"
    )
    answers = installation.shell(f"""
        from django.contrib.auth import get_user_model
        from PIL import ImageFile
        from rest_framework.test import APIClient
        decoded = []
        load = ImageFile.ImageFile.load
        ImageFile.ImageFile.load = lambda picture: decoded.append(picture.size) or load(picture)
        client = APIClient()
        client.force_authenticate(get_user_model().objects.create_superuser("a"))
        for file, force in [({large}, False), ({large}, True), ({min(items)}, True)]:
            decoded.clear()
            address = f"/api/files/{{file}}/create-image-proxy"
            answer = client.post(address, {{"force": force}}, format="json", HTTP_HOST="localhost")
            print(answer.status_code, answer.data.get("error"), len(decoded) > 0)
        ImageFile.ImageFile.load = load
    """)
    assert answers.splitlines() == ["422 quarantined False", "422 quarantined False", "201 None True"]
    library.assert_in_order(installation, batch, worker)

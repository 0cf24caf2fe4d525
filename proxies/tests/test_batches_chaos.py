"""Batches that lose their workers, queue, database and files while they run.

Each test ends alike: after one sweep and without help, every item is final, every row's SHA-256 matches its
file, and nothing is left over.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis

from novaproxy_site.tests.installation import Installation
from novaproxy_site.tests.servers import run_redis
from proxies.tests import library
from proxies.tests.driving import RunningWorker

# make chaos plays more rounds.
ROUNDS = int(os.environ.get("NOVAPROXY_CHAOS_ROUNDS", "3"))
SEED = int(os.environ.get("NOVAPROXY_CHAOS_SEED", "7"))


@pytest.mark.every_backend
def test_two_workers_share_a_batch_and_make_each_proxy_once(
    installation: Installation, run_worker: Callable[..., RunningWorker]
) -> None:
    library.fill(installation, 300)
    workers = [run_worker(installation, workers=1) for _ in range(2)]
    library.wait_for_workers(installation, workers[0], 2)
    for worker in workers:
        worker.parts()
    batch = library.start(installation)
    library.wait_until_done(installation, batch)
    items = library.items(installation, batch)
    assert Counter((item["outcome"], item["attempts"]) for item in items) == {("created", 1): 300}
    shares = Counter(item["lease_holder"] for item in items)
    assert len(shares) == 2, shares
    assert min(shares.values()) > 30, shares
    library.assert_in_order(installation, batch, *workers)


@pytest.mark.every_backend
def test_cluster_processes_are_killed_repeatedly(
    installation: Installation, run_worker: Callable[..., RunningWorker]
) -> None:
    dice = random.Random(SEED)
    library.fill(installation, 40 * ROUNDS)
    worker = run_worker(installation)
    worker.parts()
    batch = library.start(installation)
    for round_ in range(ROUNDS):
        library.wait_for_first(installation, batch, worker, count=10 * (round_ + 1))
        victims = worker.processes()
        if victims:
            dice.choice(victims).kill()
    library.wait_until_done(installation, batch, sweeping=True)
    assert set(library.outcomes(installation, batch)) <= library.MADE
    library.assert_in_order(installation, batch, worker)


@pytest.mark.every_backend
def test_a_tick_delivered_twice_at_once_runs_once(installation: Installation) -> None:
    library.fill(installation, 12, kind="scan")
    for _ in range(6):
        batch = library.start(installation, force=True)
        taken = installation.shell(f"""
            from proxies.batches import lifecycle, runner
            from proxies.batches.claim import Claim
            from proxies.models import Batch, WorkerSlot
            from proxies.tests.doubling import run_twice
            print(*run_twice(WorkerSlot.objects.get(number=0)))
            batch = Batch.objects.get(pk={batch})
            runner.perform(Claim(batch, lambda: False))  # what the tick's time was too short for
            lifecycle.finish_if_done(batch)
        """)
        none, some = map(int, taken.split())
        assert none == 0 < some
        assert {item["attempts"] for item in library.items(installation, batch)} == {1}
    library.assert_in_order(installation, batch)


@pytest.mark.redis
def test_an_emptied_queue_is_notified_again(
    install: Callable[..., Installation], run_worker: Callable[..., RunningWorker]
) -> None:
    installation = install("postgres+redis")
    library.fill(installation, 10)
    batch = library.start(installation)
    with redis.Redis.from_url(installation.environment["NOVAPROXY_BROKER"]) as client:
        assert client.flushdb()
    library.let_a_while_pass(installation)
    worker = run_worker(installation)
    library.sweep(installation)
    library.wait_until_done(installation, batch)
    library.assert_in_order(installation, batch, worker)


@pytest.mark.redis
@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_the_broker_goes_away_and_comes_back(
    install: Callable[..., Installation],
    run_worker: Callable[..., RunningWorker],
    tmp_path: Path,
    database: str,
) -> None:
    with run_redis(tmp_path) as redis_server:
        port = redis_server.port
        installation = install(database, NOVAPROXY_BROKER=redis_server.url(0))
        library.fill(installation, 60)
        worker = run_worker(installation)
        batch = library.start(installation)
        library.wait_for_first(installation, batch, worker)
    # No notification is sent for a file saved now: it is kept, and its proxy is created later.
    installation.shell("""
        from django.core.files.base import ContentFile
        from media_files.models import MediaFile
        from proxies.tests.crashing import photo
        MediaFile.objects.create(file=ContentFile(photo(777), "meanwhile.jpg"))
    """)
    with run_redis(tmp_path, port):
        library.let_a_while_pass(installation)
        library.wait_until_done(installation, batch, sweeping=True)
        made = installation.shell("""
            from proxies.models import Proxy
            print(Proxy.objects.filter(source__original_name="meanwhile.jpg").count())
        """)
        assert made == "1\n"
        library.assert_in_order(installation, batch, worker)


@pytest.mark.postgres
@pytest.mark.parametrize("backend", ["postgres", pytest.param("postgres+redis", marks=pytest.mark.redis)])
def test_the_database_goes_away_and_comes_back(
    install: Callable[..., Installation], run_worker: Callable[..., RunningWorker], backend: str
) -> None:
    installation = install(backend)
    library.fill(installation, 60)
    worker = run_worker(installation)
    batch = library.start(installation)
    library.wait_for_first(installation, batch, worker)
    url = installation.environment["DATABASE_URL"]
    server, _, name = url.rpartition("/")
    installation.shell("from django.db import connection; connection.close()")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        time.sleep(3)
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    library.let_a_while_pass(installation)
    library.wait_until_done(installation, batch, sweeping=True)
    assert set(library.outcomes(installation, batch)) <= library.MADE
    library.assert_in_order(installation, batch, worker)


def test_a_file_that_kills_its_process_is_quarantined_and_the_others_are_done(
    install: Callable[..., Installation], run_worker: Callable[..., RunningWorker], tmp_path: Path
) -> None:
    # Stands for a decoder that the kernel kills for its memory use: decoding an image 1003 px wide is fatal.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal\n"
        "from PIL import ImageFile\n"
        "load = ImageFile.ImageFile.load\n"
        "def fatal(self):\n"
        "    if 1003 in self.size:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return load(self)\n"
        "ImageFile.ImageFile.load = fatal\n"
    )
    installation = install("sqlite")
    library.fill(installation, 40, kind="scan")
    installation.shell("""
        import io
        from django.core.files.base import ContentFile
        from django.test import override_settings
        from PIL import Image
        from media_files.models import MediaFile
        stream = io.BytesIO()
        Image.new("RGB", (1003, 1003)).save(stream, "JPEG")
        with override_settings(NOVAPROXY_ON_SAVE="off"):
            MediaFile.objects.create(pk=20_000, file=ContentFile(stream.getvalue(), "fatal.jpg"))
            for seed in range(100, 120):
                from proxies.tests.crashing import scan
                MediaFile.objects.create(pk=20_000 + seed, file=ContentFile(scan(seed), f"{seed}.tif"))
    """)
    installation.environment["PYTHONPATH"] = str(tmp_path)
    worker = run_worker(installation)
    worker.parts()
    batch = library.start(installation)
    library.wait_until_done(installation, batch, sweeping=True)
    items = {item["file_id"]: item for item in library.items(installation, batch)}
    fatal = items.pop(20_000)
    assert (fatal["outcome"], fatal["error"], fatal["attempts"]) == ("quarantined", "quarantined", 3)
    assert {(item["outcome"], item["attempts"]) for item in items.values()} <= {
        ("created", 1),
        ("reused", 1),
        ("replaced", 1),
        ("reused", 0),
    }
    library.assert_in_order(installation, batch, worker)


@pytest.mark.every_backend
def test_an_upload_does_not_wait_behind_a_backfill(
    installation: Installation, run_worker: Callable[..., RunningWorker]
) -> None:
    library.fill(installation, 1)
    # 2,000 rows with the same image: a long backfill that is quick to prepare.
    installation.shell("""
        from media_files.models import MediaFile
        first = MediaFile.objects.get()
        copies = []
        for number in range(2000):
            copy = MediaFile.objects.get(pk=first.pk)
            copy.pk, copy.original_name = None, f"{number}.jpg"
            copies.append(copy)
        MediaFile.objects.bulk_create(copies)
    """)
    worker = run_worker(installation)
    worker.parts()
    batch = library.start(installation)
    library.wait_for_first(installation, batch, worker, count=20)
    printed = installation.shell("""
        import time
        from django.core.files.base import ContentFile
        from django.db.models import Sum
        from media_files.models import MediaFile
        from proxies.models import WorkerSlot, Proxy
        from proxies.tests.crashing import photo
        def ticks():
            return WorkerSlot.objects.aggregate(ticks=Sum("generation"))["ticks"]
        file = MediaFile.objects.create(file=ContentFile(photo(9999), "upload.jpg"))
        began = latest = now = ticks()
        while not Proxy.objects.filter(source=file).exists():
            # Of those begun while there was no proxy: how late we look does not count.
            latest, now = now, ticks()
            time.sleep(0.02)
        print(latest - began)
    """)
    left = sum(item["state"] != "done" for item in library.items(installation, batch))
    assert left > 0, "the backfill was over before the upload arrived"
    # At most two ticks of each of the two processes.
    assert int(printed) <= 4

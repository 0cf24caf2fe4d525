"""Batches whose workers, queue, database and files are taken away while they run.

Each test ends alike: with one sweep and no other hand every item is final, every row's SHA-256 is that of
its file, and nothing is left over.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from novaproxy_site.tests.installation import Installation
from novaproxy_site.tests.servers import run_redis
from proxies.tests import library
from proxies.tests.driving import RunningWorker

# The long form takes more rounds: make chaos.
ROUNDS = int(os.environ.get("NOVAPROXY_CHAOS_ROUNDS", "3"))
MADE = {"created", "reused", "replaced"}
SEED = int(os.environ.get("NOVAPROXY_CHAOS_SEED", "7"))


@pytest.fixture
def run_worker() -> Iterator[Callable[..., RunningWorker]]:
    started: list[RunningWorker] = []

    def run(*args: object, **kwargs: object) -> RunningWorker:
        started.append(RunningWorker(*args, **kwargs))  # type: ignore[arg-type]
        return started[-1]

    yield run
    for worker in started:
        worker.close()


@pytest.mark.every_backend
def test_two_workers_share_a_batch_and_make_each_proxy_once(
    installation: Installation, run_worker: Callable[..., RunningWorker]
) -> None:
    library.fill(installation, 300)
    workers = [run_worker(installation, workers=1) for _ in range(2)]
    library.wait_for_workers(installation, workers[0], 2)
    batch = library.start(installation)
    library.wait_until_done(installation, batch)
    items = library.items(installation, batch)
    assert Counter((item["outcome"], item["attempts"]) for item in items) == {("created", 1): 300}
    shares = Counter(item["lease_holder"] for item in items)
    assert len(shares) == 2, shares
    assert min(shares.values()) > 30, shares
    assert library.disorder(installation, batch) == []


@pytest.mark.parametrize("part", ["main", "sentinel", "worker 0", "monitor", "pusher"])
def test_a_part_of_the_cluster_is_killed_in_mid_batch(
    installation: Installation, run_worker: Callable[..., RunningWorker], part: str
) -> None:
    library.fill(installation, 40)
    worker = run_worker(installation)
    parts = worker.parts()
    batch = library.start(installation)
    library.wait_for_first(installation, batch, worker)
    parts[part].kill()
    assert library.done(installation, batch) < 40, "the batch ended before the part did"
    library.wait_until_done(installation, batch, sweeping=True)
    assert {item["outcome"] for item in library.items(installation, batch)} <= MADE
    assert library.disorder(installation, batch) == []
    worker.stop()
    assert worker.processes() == []


@pytest.mark.every_backend
def test_parts_of_the_cluster_are_killed_again_and_again(
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
    assert {item["outcome"] for item in library.items(installation, batch)} <= {
        "created",
        "reused",
        "replaced",
    }
    assert library.disorder(installation, batch) == []
    worker.stop()
    assert worker.processes() == []


@pytest.mark.parametrize(
    ("number", "group"),
    [(signal.SIGTERM, False), (signal.SIGINT, True), (signal.SIGKILL, False), (signal.SIGKILL, True)],
)
def test_the_supervisor_is_ended_in_mid_batch_and_another_goes_on(
    installation: Installation, run_worker: Callable[..., RunningWorker], number: int, group: bool
) -> None:
    library.fill(installation, 60)
    first = run_worker(installation)
    batch = library.start(installation)
    library.wait_for_first(installation, batch, first)
    first.stop(number, group=group)
    first.wait_for(lambda: not first.processes(), what="no process to be left")
    assert library.done(installation, batch) < 60, "the batch ended before the worker did"
    run_worker(installation)
    library.sweep(installation)
    library.wait_until_done(installation, batch)
    items = library.items(installation, batch)
    if number != signal.SIGKILL:
        assert {item["attempts"] for item in items} == {1}, "a stop charges nobody"
    assert library.disorder(installation, batch) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_command_is_ended_in_mid_run_and_the_next_goes_on(
    installation: Installation, number: int
) -> None:
    library.fill(installation, 60)
    command = installation.popen("create_image_proxies", "--no-dry-run", "--force")
    _wait(lambda: library.done(installation, 1) >= 5)
    (os.killpg if number == signal.SIGINT else os.kill)(command.pid, number)
    code = command.wait(30)
    assert code == (130 if number == signal.SIGINT else -signal.SIGKILL)
    _wait(
        lambda: not [p for p in installation.processes() if "create_image_proxies" in " ".join(p.cmdline())]
    )
    assert library.done(installation, 1) < 60
    installation.manage("create_image_proxies", "--no-dry-run", "--force")
    items = library.items(installation, 1)
    assert Counter(item["outcome"] for item in items) == {"created": 60}, "it went on with the same batch"
    assert library.disorder(installation, 1) == []


@pytest.mark.redis
def test_a_queue_that_is_emptied_is_rung_for_again(
    install: Callable[..., Installation], run_worker: Callable[..., RunningWorker]
) -> None:
    installation = install("postgres+redis")
    library.fill(installation, 10)
    batch = library.start(installation)
    with redis.Redis.from_url(installation.environment["NOVAPROXY_BROKER"]) as client:
        assert client.flushdb()
    library.let_a_while_pass(installation)
    run_worker(installation)
    library.sweep(installation)
    library.wait_until_done(installation, batch)
    assert library.disorder(installation, batch) == []


@pytest.mark.redis
def test_the_broker_goes_away_and_comes_back(
    install: Callable[..., Installation], run_worker: Callable[..., RunningWorker], tmp_path: Path
) -> None:
    with run_redis(tmp_path) as redis_server:
        port = redis_server.port
        installation = install("sqlite", NOVAPROXY_BROKER=redis_server.url(0))
        library.fill(installation, 60)
        worker = run_worker(installation)
        batch = library.start(installation)
        library.wait_for_first(installation, batch, worker)
    # Whoever saves now is told nothing of it: the file is kept, and its proxy comes later.
    installation.shell("""
        from django.core.files.base import ContentFile
        from media_files.models import MediaFile
        from proxies.tests.crashing import photo
        MediaFile.objects.create(file=ContentFile(photo(777), "meanwhile.jpg"))
    """)
    assert library.uploads_wait(installation)
    with run_redis(tmp_path, port):
        library.let_a_while_pass(installation)
        library.wait_until_done(installation, batch, sweeping=True)
        assert library.disorder(installation, batch) == []
        worker.stop()


@pytest.mark.postgres
def test_the_database_goes_away_and_comes_back(
    install: Callable[..., Installation], run_worker: Callable[..., RunningWorker]
) -> None:
    installation = install("postgres")
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
    assert {item["outcome"] for item in library.items(installation, batch)} <= {
        "created",
        "reused",
        "replaced",
    }
    assert library.disorder(installation, batch) == []


def test_a_file_that_kills_its_process_is_quarantined_by_name_and_the_others_are_done(
    install: Callable[..., Installation], run_worker: Callable[..., RunningWorker], tmp_path: Path
) -> None:
    # A decoder that takes all memory, as the kernel ends it: any process that decodes a picture 1003 px wide.
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
    library.fill(installation, 40)
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
                from proxies.tests.crashing import photo
                MediaFile.objects.create(pk=20_000 + seed, file=ContentFile(photo(seed), f"{seed}.jpg"))
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
    assert library.disorder(installation, batch) == []


def test_a_file_that_takes_too_much_memory_is_quarantined_and_the_api_says_so_undecoded(
    install: Callable[..., Installation], run_worker: Callable[..., RunningWorker]
) -> None:
    installation = install("sqlite", NOVAPROXY_MAX_MEMORY="220", NOVAPROXY_ON_SAVE="off")
    library.fill(installation, 10)
    installation.shell("""
        import io
        from django.core.files.base import ContentFile
        from PIL import Image
        from media_files.models import MediaFile
        stream = io.BytesIO()
        # A few hundred kilobytes, and half a gigabyte once they are decoded.
        Image.new("RGB", (14_000, 10_000), "teal").save(stream, "PNG")
        MediaFile.objects.create(pk=20_000, file=ContentFile(stream.getvalue(), "large.png"))
    """)
    run_worker(installation).parts()
    batch = library.start(installation)
    library.wait_until_done(installation, batch, sweeping=True)
    items = {item["file_id"]: item for item in library.items(installation, batch)}
    assert (items[20_000]["outcome"], items[20_000]["attempts"]) == ("quarantined", 3)
    assert {item["outcome"] for item in items.values()} <= MADE | {"quarantined"}
    assert library.disorder(installation, batch) == []
    answer = installation.shell("""
        from django.contrib.auth import get_user_model
        from rest_framework.test import APIClient
        client = APIClient()
        client.force_authenticate(get_user_model().objects.create_superuser("a"))
        answer = client.post("/api/files/20000/create-image-proxy", HTTP_HOST="localhost")
        print(answer.status_code, answer.data["error"])
    """)
    assert answer == "422 quarantined\n"


@pytest.mark.every_backend
def test_an_upload_does_not_wait_behind_a_backfill(
    installation: Installation, run_worker: Callable[..., RunningWorker]
) -> None:
    library.fill(installation, 1)
    # Two thousand files of one picture: the backfill is long, and quickly made.
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
        from proxies.models import Lane, Proxy
        from proxies.tests.crashing import photo
        began = Lane.objects.aggregate(slices=Sum("generation"))["slices"]
        file = MediaFile.objects.create(file=ContentFile(photo(9999), "upload.jpg"))
        while not Proxy.objects.filter(source=file).exists():
            time.sleep(0.02)
        print(Lane.objects.aggregate(slices=Sum("generation"))["slices"] - began)
    """)
    left = sum(item["state"] != "done" for item in library.items(installation, batch))
    assert left > 0, "the backfill was over before the upload came"
    # Two slices of each of the two processes at the most.
    assert int(printed) <= 4


def _wait(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except psutil.Error:
            pass  # a process that ended while we looked at it
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)

"""Throughput of the ledger alone: a batch in which nothing is read, rendered or stored.

    DATABASE_URL=postgres://... python benchmarks/ledger.py [--images 3000] [--processes 1 2 4]

Prints statements and transactions per image, and images per second for each number of processes. Use an
empty database made for this purpose: the rows written to it are not deleted.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def set_up() -> None:
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "novaproxy_site.settings")
    os.environ["NOVAPROXY_DATA_DIR"] = tempfile.mkdtemp(prefix="novaproxy-ledger-")
    os.environ["NOVAPROXY_ON_SAVE"] = "off"
    os.environ["DEBUG"] = "0"
    os.environ["SECRET_KEY"] = "benchmark"  # noqa: S105
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def without_pixels() -> None:
    """Stub out reading, rendering and storing, so that only the database work is left."""
    from media_files.storage.base import Stored
    from media_files.storage.local import LocalStorage
    from proxies.rendering.render import Rendered
    from proxies.services import ImageProxyService

    rendered = Rendered(data=b"x", format="JPEG", width=1344, height=896, sha256="0" * 64, provenance={})
    LocalStorage.fetch = lambda self, name, **options: io.BytesIO(b"")  # type: ignore[method-assign]
    LocalStorage.put = lambda self, name, content, **options: Stored(name, 1)  # type: ignore[method-assign]
    ImageProxyService.render = lambda self, making, stream: rendered  # type: ignore[method-assign]


def add_files(count: int) -> list[int]:
    from media_files.models import MediaFile

    rows = [
        MediaFile(
            file=f"{time.time_ns()}/{number}.jpg", original_name=f"{number}.jpg", format="JPEG",
            sha256="1" * 64, fingerprint="1" * 64, bytes=5_000_000, width=6000, height=4000, mode="RGB",
        )
        for number in range(count)
    ]  # fmt: skip
    made = MediaFile.objects.bulk_create(rows, batch_size=500)
    return [row.pk for row in made]


def start(ids: list[int]) -> Any:
    from media_files.models import MediaFile
    from proxies.batches import lifecycle
    from proxies.batches.selection import Selection
    from proxies.models import Batch

    selection = Selection(MediaFile.objects.all(), ids)
    return lifecycle.start("image-proxy", selection, {}, executor=Batch.Executor.LOCAL)


def count_statements() -> dict[str, float]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from proxies.batches import runner
    from proxies.batches.claim import Claim

    images = 40
    batch = start(add_files(images))
    with CaptureQueriesContext(connection) as captured:
        runner.perform(Claim(batch, lambda: False))
    verbs = [query["sql"].split()[0].upper() for query in captured.captured_queries]
    writes = sum(verb in ("INSERT", "UPDATE", "DELETE") for verb in verbs)
    begins = sum(verb == "BEGIN" for verb in verbs)
    statements = sum(verb in ("SELECT", "INSERT", "UPDATE", "DELETE") for verb in verbs)
    return {"statements": statements / images, "writes": writes / images, "transactions": begins / images}


def labour(batch_id: int) -> None:
    from proxies.batches import runner
    from proxies.batches.claim import Claim
    from proxies.models import Batch

    runner.perform(Claim(Batch.objects.get(pk=batch_id), lambda: False))


def images_per_second(images: int, processes: int) -> float:
    from django.db import connections

    batch = start(add_files(images))
    connections.close_all()
    began = time.perf_counter()
    crew = [
        multiprocessing.get_context("fork").Process(target=labour, args=(batch.pk,)) for _ in range(processes)
    ]
    for worker in crew:
        worker.start()
    for worker in crew:
        worker.join()
    return images / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    options = parser.parse_args()
    set_up()
    without_pixels()
    from django.db import connection

    said: dict[str, Any] = {"database": connection.vendor, "for_each_image": count_statements()}
    said["images_per_second"] = {
        str(processes): round(images_per_second(options.images, processes), 1)
        for processes in options.processes
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main()

"""Originals and proxies in an S3 bucket: requests per proxy, and the cost of 100 ms of latency."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.batches import Run, fill, local
from benchmarks.children import installation
from benchmarks.harness import Answer, Goal, Options, Table, number, ratio
from benchmarks.photographs import jpegs
from novaproxy_site.tests.installation import Installation
from novaproxy_site.tests.relay import Relay, relay_to
from novaproxy_site.tests.servers import run_s3

LATENCY = 0.1


@contextmanager
def _on_s3() -> Iterator[tuple[Installation, Relay]]:
    with (
        tempfile.TemporaryDirectory(prefix="novaproxy-bench-", ignore_cleanup_errors=True) as folder,
        run_s3(Path(folder)) as server,
        relay_to(server.endpoint) as relay,
    ):
        bucket = server.make_bucket()
        relayed = replace(bucket, server=replace(server, endpoint=relay.endpoint))
        places = relayed.environment("originals", "library") | relayed.environment("proxies", "small")
        with installation(NOVAPROXY_ON_SAVE="off", **places) as made:
            yield made, relay


def measure(options: Options) -> Answer:
    files = jpegs(options)[: 3 if options.short else 12]
    images = len(files) if options.short else 48
    with _on_s3() as (made, relay):
        requests = {}
        fill(made, files, images, options.work)
        requests["uploaded"] = _taken(relay), len(files)
        runs = {"no latency": local(made, images, 1)}
        requests["made"] = _taken(relay), images
        made.manage("create_image_proxies", "--no-dry-run", "--yes", "--workers", "1", timeout=600)
        requests["reused"] = _taken(relay), images
        relay.delay = LATENCY
        runs["100 ms a request"] = local(made, images, 1)
        runs["100 ms, one step after the other"] = _one_by_one(made, images)
        runs["100 ms, two processes"] = local(made, images, 2)
    return Answer([_requests(requests), _latency(runs, images)], _goals(requests, runs))


def _taken(relay: Relay) -> Counter[str]:
    methods = Counter(relay.methods)
    relay.requests.clear()
    return methods


def _one_by_one(made: Installation, images: int) -> Run:
    """Measure the same work without prefetching and without storing in the background."""
    seconds = float(
        made.shell("""
            import time
            from media_files.models import MediaFile
            from proxies.services import ImageProxyService
            service = ImageProxyService()
            began = time.perf_counter()
            for row in MediaFile.objects.order_by("id"):
                service.create_proxy(row, force=True)
            print(time.perf_counter() - began)
        """)
    )
    return Run(0.0, seconds * 1000 / images)  # its memory is not measured


def _requests(requests: dict[str, tuple[Counter[str], int]]) -> Table:
    methods = ("GET", "PUT", "HEAD", "POST", "DELETE")
    rows = [
        [f"a file {what}", *(number(taken[method] / files, 2) for method in methods)]
        for what, (taken, files) in requests.items()
    ]
    return Table("Storage requests for each file", ("", *methods), rows, ["A LIST would count as a GET."])


def _latency(runs: dict[str, Run], images: int) -> Table:
    base = runs["no latency"].wall
    rows = [
        [
            name,
            number(run.wall, 1),
            ratio(run.wall, base),
            number(1000 / run.wall, 1),
            number(run.peak) if run.peak else "-",
        ]
        for name, run in runs.items()
    ]
    note = (
        f"{images} JPEG photographs; the S3 server (seaweedfs) and the relay that delays each request run on "
        "the same cores and take their share."
    )
    return Table(
        "A bucket", ("way", "wall ms an image", "x", "images a second", "MB of a worker"), rows, [note]
    )


def _goals(requests: dict[str, tuple[Counter[str], int]], runs: dict[str, Run]) -> list[Goal]:
    made, files = requests["made"]
    latency = runs["100 ms a request"].wall / runs["no latency"].wall
    return [
        Goal("Bucket: requests for each proxy made (one GET, one PUT)", made.total() / files, 2.0),
        Goal("Bucket: requests for each proxy reused", float(requests["reused"][0].total()), 0.0),
        # 1.25 times as long is 0.8 of the throughput.
        Goal("Bucket: a batch with 100 ms of latency against none, wall", latency, 1.25),
        Goal("Bucket: MB of a worker at 100 ms", runs["100 ms a request"].peak, 300.0),
    ]

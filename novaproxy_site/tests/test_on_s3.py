"""End to end with originals and proxies in a bucket of a real S3 server."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from novaproxy_site.tests.installation import Installation
from novaproxy_site.tests.relay import Relay
from novaproxy_site.tests.servers import S3Bucket
from proxies.tests.crashing import photo
from proxies.tests.driving import RunningWorker

PICTURES = 5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(PICTURES):
        (tmp_path / f"{number}.jpg").write_bytes(photo(number))
    return tmp_path


@pytest.fixture
def on_s3(
    install: Callable[..., Installation], relayed_bucket: S3Bucket, request: pytest.FixtureRequest
) -> Installation:
    backend = getattr(request, "param", "sqlite")
    places = relayed_bucket.environment("originals", "library")
    return install(backend, **places | relayed_bucket.environment("proxies", "small"))


def taken(relay: Relay) -> Counter[str]:
    """Count the requests since the last call, by method, without the worker's storage probes."""
    methods = Counter(request.method for request in relay.requests if "/.probe/" not in request.path)
    relay.requests.clear()
    return methods


def wait_until_settled(worker: RunningWorker) -> None:
    worker.wait_for(
        lambda: (
            worker.installation.shell(
                "from proxies.models import BatchItem; print(BatchItem.objects.exclude(state='done').count())"
            )
            == "0\n"
        ),
        seconds=60,
        what="all items to be done",
    )


def test_one_get_and_one_put_per_proxy_made_and_none_if_reused(
    on_s3: Installation, folder: Path, relay: Relay, bucket: S3Bucket
) -> None:
    on_s3.manage("import_media", folder)
    assert taken(relay) == {"PUT": PICTURES}, "an upload is hashed and measured while it streams"

    worker = RunningWorker(on_s3)
    wait_until_settled(worker)
    assert taken(relay) == {"GET": PICTURES, "PUT": PICTURES}
    assert bucket.keys("small/") == [f"small/proxy_image/{n}_{n + 1}_nova.jpg" for n in range(PICTURES)]

    again = on_s3.manage("create_image_proxies", "--no-dry-run", "--json")
    assert json.loads(again.stdout.splitlines()[-1])["totals"]["reused"] == PICTURES
    assert taken(relay) == {}

    forced = on_s3.manage("create_image_proxies", "--no-dry-run", "--force", "--json")
    assert json.loads(forced.stdout.splitlines()[-1])["totals"]["replaced"] == PICTURES
    assert taken(relay) == {"GET": PICTURES, "PUT": PICTURES}


@pytest.mark.parametrize(
    "on_s3", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
def test_a_temporary_storage_failure_loses_no_file(on_s3: Installation, folder: Path, relay: Relay) -> None:
    on_s3.manage("import_media", folder)
    failures = iter(range(4))

    def fault(request: object) -> object:
        # The client retries twice itself, so only the first files fail and are retried later.
        return Relay.answer(503) if next(failures, None) is not None else None

    relay.fault = fault  # type: ignore[assignment]
    run = on_s3.manage("create_image_proxies", "--no-dry-run", "--json", "--workers", "1")
    assert json.loads(run.stdout.splitlines()[-1])["totals"]["created"] == PICTURES

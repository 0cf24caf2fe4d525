"""Fixtures for tests of the REST API, exposed by conftest.py."""

from __future__ import annotations

import pytest

from media_files.tests.pictures import encoded, jpeg, mp4
from novaproxy_site.tests.api_client import EVERY_PERMISSION, api_with
from proxies.batches.runner import run_tick
from proxies.models import Batch, Proxy, WorkerSlot
from proxies.services import ImageProxyService

START = "/api/batch/image-proxy"


@pytest.fixture
def api(folders):
    return api_with(*EVERY_PERMISSION)


@pytest.fixture
def library(add, off):
    """Return the id of one file for each outcome of a plan."""
    rows = {
        "created": add(jpeg(), "large.jpg"),
        "skipped": add(encoded("PNG", 200, 100), "small.png"),
        "failed": add(mp4(), "clip.mp4"),
        "reused": add(jpeg(seed=2), "done.jpg"),
        "replaced": add(jpeg(seed=3), "stale.jpg"),
    }
    for name in ("reused", "replaced"):
        ImageProxyService().create_proxy(rows[name])
    Proxy.objects.filter(source=rows["replaced"]).update(recipe="of an older version")
    return {name: row.pk for name, row in rows.items()}


@pytest.fixture
def batch(api, library):
    """Return a batch of five files: one to create, one to replace, and three settled, one of them failed."""
    return Batch.objects.get(pk=int(api.send(START, {"filter": {}}).json()["job_id"].rpartition("-")[2]))


def work_off():
    """Do the work of the queue's workers."""
    while notified := WorkerSlot.objects.filter(state=WorkerSlot.State.NOTIFIED).first():
        run_tick(notified.number, notified.generation)

"""Views that belong to no single app."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils.timezone import now

from proxies.models import WorkerState

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("path", ["/healthz", "/healthz?from=a-load-balancer"])
def test_healthz_needs_no_login(client, path):
    response = client.get(path)
    assert (response.status_code, response.json()) == (200, {"status": "ok", "database": "ok", "workers": 0})


WORKERS: dict[str, tuple[dict[str, Any], int]] = {
    "one that runs": ({"state": "running"}, 1),
    "one that starts": ({"state": "starting"}, 0),
    "one that has stopped": ({"state": "stopped"}, 0),
    "one that has said nothing for an hour": ({"state": "running", "beat_at": now() - timedelta(hours=1)}, 0),
}


@pytest.mark.parametrize("case", WORKERS)
def test_healthz_counts_live_workers(client, case):
    values, count = WORKERS[case]
    values = {"host": "a", "pid": 1, "started_at": now(), "beat_at": now()} | values
    WorkerState.objects.create(**values)
    assert client.get("/healthz").json()["workers"] == count


def test_healthz_reports_an_unresponsive_database(client, monkeypatch):
    def refuse():
        raise OperationalError("could not connect to 10.0.0.1")

    monkeypatch.setattr(connection, "cursor", refuse)
    response = client.get("/healthz")
    assert (response.status_code, response.json()["status"]) == (503, "unavailable")
    assert b"10.0.0.1" not in response.content


def test_the_root_redirects_to_the_admin(client):
    response = client.get("/")
    assert (response.status_code, response.headers["Location"]) == (302, "/admin/")

"""Queue settings that would lose or duplicate work: each fails a system check."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings as ours
from django.core.checks import run_checks


def ids(app: str = "proxies") -> list[str]:
    found = [message for message in run_checks() if str(message.id).startswith(f"{app}.")]
    assert all(message.hint for message in found)
    return [str(message.id) for message in found]


QUEUES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "as it is": ({}, []),
    "no time-out": ({"timeout": None}, ["proxies.E001"]),
    "a time-out that a tick reaches": ({"timeout": 2}, ["proxies.E001"]),
    "a time-out that the guard steps over": ({"timeout": 120.3}, ["proxies.E001"]),
    "a guard that steps over the time-out": ({"guard_cycle": 0.7}, ["proxies.E001"]),
    "a retry within the time-out": ({"retry": 100}, ["proxies.E002"]),
    "a retry while tasks still wait": ({"retry": 240}, ["proxies.E002"]),
    "a retry just above": ({"retry": 241}, []),
    "a long queue in memory": ({"queue_limit": 20}, ["proxies.E002"]),
    "django-q2's own retry": ({"retry": 60}, ["proxies.E002"]),
    "failures that are not acknowledged": ({"ack_failures": False}, ["proxies.E003"]),
    "attempts without end": ({"max_attempts": 0}, ["proxies.E003"]),
}


@pytest.mark.parametrize("case", QUEUES)
def test_queue_times(settings, case):
    changed, expected = QUEUES[case]
    settings.Q_CLUSTER = ours.Q_CLUSTER | changed
    assert ids() == expected


@pytest.mark.parametrize(
    ("engine", "workers", "expected"),
    [("sqlite3", 4, []), ("sqlite3", 5, ["proxies.W001"]), ("postgresql", 50, [])],
)
def test_number_of_workers_on_sqlite(settings, monkeypatch, engine, workers, expected):
    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", f"django.db.backends.{engine}")
    settings.NOVAPROXY_WORKERS = workers
    assert ids() == expected


def test_a_wrong_setting_prevents_start_up(installation):
    ended = installation.manage("check", check=False, environment={"NOVAPROXY_PROXIES_BUCKET": "photos"})
    assert ended.returncode == 1
    assert "media_files.E003" in ended.stderr
    assert "NOVAPROXY_PROXIES_REGION" in ended.stderr

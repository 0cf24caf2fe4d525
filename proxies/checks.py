"""System checks that refuse queue settings which would lose or repeat work."""

from __future__ import annotations

import os
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from proxies.batches.runner import TICK_SECONDS
from proxies.conf import queue_settings, setting


@register
def check_project(**kwargs: Any) -> list[CheckMessage]:
    """Settings of the project that have no default: where the worker keeps its files, and the queue."""
    messages: list[CheckMessage] = []
    if not getattr(settings, "DATA_DIR", None):
        messages.append(
            Error(
                "DATA_DIR is not set, so the worker has no folder for its files.",
                hint="Set DATA_DIR to a folder that the worker may write to.",
                id="proxies.E004",
            )
        )
    queue, broker = queue_settings(), setting("NOVAPROXY_BROKER")
    if not queue:
        messages.append(
            Error(
                "Q_CLUSTER is not set, so there is no job queue.",
                hint='Set Q_CLUSTER to {"name": "novaproxy", "orm": "default", "workers": 2, '
                '"queue_limit": 2, "bulk": 1, "timeout": 120, "retry": 600, "guard_cycle": 0.5, '
                '"ack_failures": True, "max_attempts": 3}.',
                id="proxies.E005",
            )
        )
    elif broker == "orm" and not queue.get("orm"):
        messages.append(
            Error(
                'NOVAPROXY_BROKER is "orm", but Q_CLUSTER does not name a database.',
                hint='Add "orm": "default" to Q_CLUSTER, or set NOVAPROXY_BROKER to the address of Redis.',
                id="proxies.E006",
            )
        )
    if not getattr(settings, "BASE_DIR", None):
        messages.append(
            Error(
                "BASE_DIR is not set, so the worker cannot find manage.py.",
                hint="Set BASE_DIR to the folder of manage.py.",
                id="proxies.E007",
            )
        )
    return messages


@register
def check_queue_times(**kwargs: Any) -> list[CheckMessage]:
    """Check that a task has ended, or been killed, before the broker delivers it again."""
    if not (queue := queue_settings()):
        return []  # check_project reports it
    timeout, retry = queue.get("timeout"), queue.get("retry", 60)
    messages: list[CheckMessage] = []
    # The guard ends a task when its remaining time is exactly 0; it subtracts its cycle each time.
    if not timeout or timeout < 10 * TICK_SECONDS or timeout % queue.get("guard_cycle", 0.5):
        messages.append(
            Error(
                f"Q_CLUSTER['timeout'] is {timeout!r}: a tick that hangs would never be ended.",
                hint="Set it to a whole number of seconds, such as 120, and guard_cycle to 0.5.",
                id="proxies.E001",
            )
        )
        return messages
    workers = queue.get("workers") or os.cpu_count() or 1
    # Tasks wait in a cluster's memory while their clock runs.
    waiting = queue.get("queue_limit", workers**2) / workers + 1
    if retry <= waiting * timeout:
        messages.append(
            Error(
                f"Q_CLUSTER['retry'] is {retry} s: a task may be delivered again while it is worked on.",
                hint=f"Set it above {waiting * timeout:.0f} s (time-out times tasks that wait for a worker).",
                id="proxies.E002",
            )
        )
    if not queue.get("ack_failures") or not queue.get("max_attempts"):
        messages.append(
            Error(
                "Q_CLUSTER retries a failing task forever.",
                hint="Set ack_failures to True and max_attempts to 3.",
                id="proxies.E003",
            )
        )
    return messages


@register
def check_embedded_database(**kwargs: Any) -> list[CheckMessage]:
    """Warn about SQLite with many workers: it allows one writer at a time, which slows eight but not two."""
    engine = settings.DATABASES["default"]["ENGINE"]
    workers = setting("NOVAPROXY_WORKERS")
    if not engine.endswith("sqlite3") or workers <= 4:
        return []
    return [
        Warning(
            f"{workers} workers on SQLite wait for each other's writes.",
            hint="Set DATABASE_URL to a PostgreSQL database, or NOVAPROXY_WORKERS to at most 4.",
            id="proxies.W001",
        )
    ]

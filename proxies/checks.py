"""System checks that refuse queue settings which would lose or repeat work."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from proxies.batches.runner import TICK_SECONDS


@register
def check_queue_times(**kwargs: Any) -> list[CheckMessage]:
    """Check that a task has ended, or been killed, before the broker delivers it again."""
    queue = settings.Q_CLUSTER
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
    # Tasks wait in a cluster's memory while their time limit is already running.
    waiting = queue.get("queue_limit", queue["workers"] ** 2) / queue["workers"] + 1
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
    if not engine.endswith("sqlite3") or settings.NOVAPROXY_WORKERS <= 4:
        return []
    return [
        Warning(
            f"{settings.NOVAPROXY_WORKERS} workers on SQLite wait for each other's writes.",
            hint="Set DATABASE_URL to a PostgreSQL database, or NOVAPROXY_WORKERS to at most 4.",
            id="proxies.W001",
        )
    ]

"""Readiness probe: check that the database, the storages and the job queue respond."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django_q.brokers import get_broker

from media_files.storage.probe import configured_aliases, failing_storages

logger = logging.getLogger(__name__)

# Seconds for which the last probe's result is reused: a load balancer may ask every second.
REMEMBERED: Final = 10.0
_OK: Final = "ok"


class StorageProbe:
    """The state of each storage, probed by one thread at a time and cached for a few seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, str] = {}
        self._until = 0.0

    def states(self) -> dict[str, str]:
        """Return ``ok`` or an error code for each storage; during a probe, the previous states."""
        if time.monotonic() >= self._until and self._lock.acquire(blocking=not self._states):
            try:
                if time.monotonic() >= self._until:
                    failures = failing_storages()
                    self._states = {
                        alias: failures[alias].code if alias in failures else _OK
                        for alias in configured_aliases()
                    }
                    self._until = time.monotonic() + REMEMBERED
            finally:
                self._lock.release()
        return self._states

    def forget(self) -> None:
        """Probe again at the next request."""
        self._until = 0.0


storage_probe = StorageProbe()


def readyz(request: HttpRequest) -> JsonResponse:
    """Return 200 if database, storages and job queue respond, else 503 and which of them do not.

    The response contains only codes; addresses, paths and messages go to the log.
    """
    storages = storage_probe.states()
    states = {"database": _database(), "queue": _queue()}
    is_ready = all(state == _OK for state in [*states.values(), *storages.values()])
    body = {"status": "ready" if is_ready else "unavailable", **states, "storages": storages}
    return JsonResponse(body, status=200 if is_ready else 503)


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        logger.error("The database does not answer: %s", error)
        return "database"
    return _OK


def _queue() -> str:
    """Ask the broker, which is the database itself unless it is Redis."""
    from redis import RedisError  # noqa: PLC0415 - costs 50 ms per start, even where Redis is not used

    try:
        get_broker().queue_size()
    except (DatabaseError, RedisError, OSError) as error:
        logger.error("The job queue does not answer: %s", error)
        return "queue"
    return _OK

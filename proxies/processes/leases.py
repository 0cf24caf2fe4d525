"""One lease per source and profile: only its holder may write or replace the proxy."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

from django.db import connection
from django.utils.timezone import now

from proxies.models import ProxyLease
from proxies.processes.liveness import is_dead, this_holder

# Well above the 120 s after which the queue ends a task: a process that still holds a lease then is dead.
LEASE_TIME: Final = timedelta(minutes=10)

# One statement, so that only one of two concurrent callers succeeds: the ORM's upsert has no condition.
# SQLite and PostgreSQL share this syntax.
_ACQUIRE: Final = """
    INSERT INTO proxies_proxylease (source_id, profile, stem, token, holder, until)
    VALUES (%s, %s, %s, %s, %s, %s)
    ON CONFLICT (source_id, profile) DO UPDATE
    SET stem = excluded.stem, token = excluded.token, holder = excluded.holder, until = excluded.until
    WHERE proxies_proxylease.until < %s
"""


def acquire(source_id: int, profile: str, *, stem: str = "") -> UUID | None:
    """Acquire the lease and return its token; None if another process holds it that is not known to be dead.

    A holder that is known to be dead loses it at once. ``stem`` is the name of the file that will be written
    under the lease, without the extension.
    """
    token = uuid4()
    if _try(source_id, profile, stem, token):
        return token
    held = ProxyLease.objects.filter(source_id=source_id, profile=profile).first()
    if held is not None and not is_dead(held.holder):
        return None
    if held is not None:
        ProxyLease.objects.filter(pk=held.pk, token=held.token).delete()
    return token if _try(source_id, profile, stem, token) else None


def release(source_id: int, profile: str, token: UUID) -> bool:
    """Release the lease; return False if it was lost meanwhile.

    Call this in the same transaction as the writes that the lease guards.
    """
    deleted, _ = ProxyLease.objects.filter(source_id=source_id, profile=profile, token=token).delete()
    return bool(deleted)


def _try(source_id: int, profile: str, stem: str, token: UUID) -> bool:
    field = ProxyLease._meta.get_field("token")
    moment = now()
    prepare = connection.ops.adapt_datetimefield_value
    with connection.cursor() as cursor:
        cursor.execute(
            _ACQUIRE,
            [
                source_id,
                profile,
                stem,
                field.get_db_prep_value(token, connection),
                this_holder(),
                prepare(moment + LEASE_TIME),
                prepare(moment),
            ],
        )
        return bool(cursor.rowcount == 1)

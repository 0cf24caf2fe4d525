"""The protocol for writing and recording a proxy's file, for both generated and external proxies.

Under the lease of (source, profile): `announce` the name, write the bytes, `record` the row; after any
failure `abandon`. Between `announce` and `record`, no row with that name counts as up to date, and a note
remains by which an interrupted write is cleaned up.
"""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction

from media_files.models import MediaFile
from proxies.cleanup import discard_proxy_file, remove
from proxies.models import DiscardedProxy, Proxy
from proxies.processes import heartbeat, leases


def find_proxy(source_id: int, profile: str) -> Proxy | None:
    """Return the proxy's current row."""
    return Proxy.objects.filter(source=source_id, profile=profile).first()


def announce(source_id: int, profile: str, name: str, *, before: Proxy | None) -> DiscardedProxy:
    """Record that ``name`` is about to be written; a row that refers to it is marked as outdated.

    ``before`` is the row of (source, profile), read under the lease. Do not call this in a transaction.
    """
    note = DiscardedProxy(source_id=source_id, profile=profile, name=name)
    if before is None or before.image.name != name:
        note.save(force_insert=True)
    else:
        _mark(note, before)
    return note


def record(note: DiscardedProxy, source: MediaFile, values: dict[str, Any]) -> tuple[Proxy, bool]:
    """Write the proxy's row in the caller's transaction; return it, and whether it is a new row.

    The file of the row that it replaces is deleted after the commit if it has a different name.
    """
    before = find_proxy(source.pk, note.profile)
    proxy = Proxy(source=source, profile=note.profile, image=note.name, **values)
    if before is None:
        proxy.save(force_insert=True)
    else:
        proxy.pk = before.pk
        proxy.save(force_update=True)
        if before.image.name != note.name:
            discard_proxy_file(source.pk, note.profile, before.image.name)
    # Not with the instance, which must keep its key: after a rollback the note exists again.
    DiscardedProxy.objects.filter(pk=note.pk).delete()
    return proxy, before is None


def abandon(source_id: int, profile: str, token: UUID, note: DiscardedProxy | None) -> None:
    """Release the lease without a proxy, and clean up what was written under its name.

    If the database does not respond, this process does so as soon as it responds again.

    Raises:
        django.db.Error: the database does not respond now.
    """
    heartbeat.surely(partial(_abandon, source_id, profile, token, note))


def _abandon(source_id: int, profile: str, token: UUID, note: DiscardedProxy | None) -> None:
    is_ours = leases.release(source_id, profile, token)
    if note is None:
        return
    if not is_ours and (proxy := Proxy.objects.filter(image=note.name).exclude(recipe="").first()):
        # Another writer held the lease meanwhile, and our bytes may have arrived after its own.
        _mark(note, proxy)
    remove(note)


def _mark(note: DiscardedProxy, proxy: Proxy) -> None:
    """Save the note and mark the row as outdated until the file has been checked."""
    note.recipe = proxy.recipe
    with transaction.atomic():
        note.save()
        Proxy.objects.filter(pk=proxy.pk).update(recipe="")

"""The one protocol by which a proxy's file is written and recorded, for generated and given ones alike.

Under the lease of (source, profile): `announce` the name, put the bytes, `record` the row; after any failure
`abandon`. Between `announce` and `record` no row calls itself current over the name, and a note stays behind
that settles what a cut-short write has left.
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
    """Return the proxy's row as it is today."""
    return Proxy.objects.filter(source=source_id, profile=profile).first()


def announce(source_id: int, profile: str, name: str, *, before: Proxy | None) -> DiscardedProxy:
    """Note that ``name`` is about to be written; a row that names it is no longer current from now on.

    ``before`` is the row of (source, profile), read under the lease. Not to be called in a transaction.
    """
    note = DiscardedProxy(source_id=source_id, profile=profile, name=name)
    if before is None or before.image.name != name:
        note.save(force_insert=True)
    else:
        _mark(note, before)
    return note


def record(note: DiscardedProxy, source: MediaFile, values: dict[str, Any]) -> tuple[Proxy, bool]:
    """Write the proxy's row in the caller's transaction; return it, and whether it is a new row.

    The file of the row that it replaces is removed after the commit, where it has another name.
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
    # Not by the instance, which must keep its key: after a rollback the note is there again.
    DiscardedProxy.objects.filter(pk=note.pk).delete()
    return proxy, before is None


def abandon(source_id: int, profile: str, token: UUID, note: DiscardedProxy | None) -> None:
    """Give the lease back without a proxy, and settle what was written under its name.

    Where the database does not answer, this process does it as soon as it does.

    Raises:
        django.db.Error: it does not answer now.
    """
    heartbeat.surely(partial(_abandon, source_id, profile, token, note))


def _abandon(source_id: int, profile: str, token: UUID, note: DiscardedProxy | None) -> None:
    is_ours = leases.release(source_id, profile, token)
    if note is None:
        return
    if not is_ours and (proxy := Proxy.objects.filter(image=note.name).exclude(recipe="").first()):
        # Another writer had the lease meanwhile, and these bytes may have arrived after its own.
        _mark(note, proxy)
    remove(note)


def _mark(note: DiscardedProxy, proxy: Proxy) -> None:
    """Save the note, and with it that the row is not current until the file has been looked at."""
    note.recipe = proxy.recipe
    with transaction.atomic():
        note.save()
        Proxy.objects.filter(pk=proxy.pk).update(recipe="")

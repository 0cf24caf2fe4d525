"""Delete proxy files that no row refers to."""

from __future__ import annotations

from django.db import transaction

from media_files import removal_notes
from media_files.errors import SourceMissing
from media_files.facts import measure
from proxies import signals
from proxies.models import DiscardedProxy, Proxy, proxies_storage
from proxies.processes import leases


def discard_proxy_file(source_id: int, profile: str, name: str | None) -> None:
    """Delete a proxy's file after the current transaction has been committed."""
    if name:
        note = DiscardedProxy.objects.create(source_id=source_id, profile=profile, name=name)
        removal_notes.remove_after_commit(note, resolve)


def remove(note: DiscardedProxy) -> bool:
    """Resolve the note now, or leave it to the sweeper; return False if it is left."""
    return removal_notes.remove(note, resolve)


def resolve(note: DiscardedProxy) -> bool:
    """Make file and row of a name consistent, under the lease that guards it; then delete the note.

    If a row refers to the file and the file has the row's bytes, both are kept. Otherwise a write was
    interrupted: both are deleted, and ``proxy_lost`` is sent so that the proxy is made again. Return False if
    another process holds the lease.

    Raises:
        MediaError: the storage does not respond; the note is kept.
    """
    token = leases.acquire(note.source_id, note.profile) if note.claim() else None
    if token is None:
        return False
    try:
        proxy = Proxy.objects.filter(image=note.name).first()
        if proxy is None:
            proxies_storage().delete(note.name)
        elif not _holds_its_bytes(proxy):
            with transaction.atomic():
                # This also adds a note for its file, which is deleted after this lease is released.
                proxy.delete()
                note.delete()
                signals.proxy_lost.send(Proxy, source_id=proxy.source_id, profile=proxy.profile)
                leases.release(note.source_id, note.profile, token)
            return True
        elif note.recipe:
            # The write that should have replaced it never arrived.
            Proxy.objects.filter(pk=proxy.pk, sha256=proxy.sha256, recipe="").update(recipe=note.recipe)
        note.delete()
    finally:
        leases.release(note.source_id, note.profile, token)
    return True


def remove_left_over() -> int:
    """Resolve the notes left by earlier deletions and writes; return how many were resolved."""
    return removal_notes.remove_left_over(DiscardedProxy.objects.all(), resolve)


def _holds_its_bytes(proxy: Proxy) -> bool:
    try:
        with proxies_storage().fetch(str(proxy.image.name)) as stream:
            return measure(stream) == (proxy.sha256, proxy.bytes)
    except SourceMissing:
        return False

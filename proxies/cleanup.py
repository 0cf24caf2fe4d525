"""Removing the files of proxies that no row names."""

from __future__ import annotations

from django.db import transaction

from media_files import removal_notes
from media_files.errors import SourceMissing
from media_files.facts import measure
from proxies.models import DiscardedProxy, Proxy, proxies_storage
from proxies.processes import leases


def discard_proxy_file(source_id: int, profile: str, name: str | None) -> None:
    """Have a proxy's file removed once the current transaction has been committed."""
    if name:
        note = DiscardedProxy.objects.create(source_id=source_id, profile=profile, name=name)
        removal_notes.remove_after_commit(note, resolve)


def remove(note: DiscardedProxy) -> bool:
    """Resolve the note now, or leave it for the sweeper. False where it is left."""
    return removal_notes.remove(note, resolve)


def resolve(note: DiscardedProxy) -> bool:
    """Make file and row agree about a name, under the lease that guards it; then delete the note.

    A row that names the file keeps it if it holds the row's bytes. Otherwise a write was cut short: both go,
    and the proxy is made again when it is needed. False where another process holds the lease.

    Raises:
        MediaError: the storage does not answer; the note stays.
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
                # Its file is noted with it, and removed after this lease has been released.
                proxy.delete()
                note.delete()
                leases.release(note.source_id, note.profile, token)
            return True
        elif note.recipe:
            # What was to be written over it never arrived.
            Proxy.objects.filter(pk=proxy.pk, sha256=proxy.sha256, recipe="").update(recipe=note.recipe)
        note.delete()
    finally:
        leases.release(note.source_id, note.profile, token)
    return True


def remove_left_over() -> int:
    """Resolve the notes that earlier removals and writes have left; return how many files are settled."""
    return removal_notes.remove_left_over(DiscardedProxy.objects.all(), resolve)


def _holds_its_bytes(proxy: Proxy) -> bool:
    try:
        with proxies_storage().fetch(str(proxy.image.name)) as stream:
            return measure(stream) == (proxy.sha256, proxy.bytes)
    except SourceMissing:
        return False

"""Compare what rows say about files with the files in the storages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.files.storage import storages
from django.utils.timezone import now

from media_files.facts import measure
from media_files.models import DiscardedFile, MediaFile
from media_files.storage.base import media_storage
from media_files.storage.local import LocalStorage
from proxies.models import BatchItem, DiscardedProxy, Proxy, ProxyFailure, Thumbnail


def age_notes() -> None:
    """Make all notes of discarded files due, as if the writer's time for storing had passed."""
    DiscardedFile.objects.update(due_at=now() - timedelta(seconds=1))


def empty_library() -> None:
    """Delete all rows and files without triggering the side effects of a deletion."""
    for model in (BatchItem, Proxy, ProxyFailure, Thumbnail, MediaFile):
        model._default_manager.all()._raw_delete("default")
    for alias in _ALIASES:
        shutil.rmtree(_root(alias), ignore_errors=True)


def disagreements() -> Iterator[str]:
    """Yield every row without its bytes, every file without a row, and every remaining note."""
    originals = [(row.storage_alias, str(row.file.name), row) for row in MediaFile.objects.all()]
    made = [("proxies", str(proxy.image.name), proxy) for proxy in Proxy.objects.all()]
    for alias, name, row in [*originals, *made]:
        yield from _row_problems(alias, name, row)
    named = {_root(alias) / name for alias, name, _ in [*originals, *made]}
    # Both storages may be the same folder.
    stored = {path for alias in _ALIASES for path in _files(alias)}
    yield from (f"file without row: {path}" for path in sorted(stored - named))
    for model in (DiscardedFile, DiscardedProxy):
        yield from (f"note left: {note!r}" for note in model._default_manager.all())


_ALIASES = ("originals", "proxies")


def _row_problems(alias: str, name: str, row: Any) -> Iterator[str]:
    storage = media_storage(alias)
    if not storage.exists(name):
        yield f"row without file: {row!r} {name}"
        return
    with storage.fetch(name) as stream:
        if measure(stream) != (row.sha256, row.bytes):
            yield f"other bytes than the row's: {row!r} {name}"


def _files(alias: str) -> Iterator[Path]:
    root = _root(alias)
    for path in root.rglob("*"):
        if path.is_file() and LocalStorage.INCOMING not in path.parts:
            yield path


def _root(alias: str) -> Path:
    storage = storages[alias]
    assert isinstance(storage, LocalStorage)
    return Path(storage.location)

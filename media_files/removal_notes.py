"""Notes for files that must be removed unless a row refers to them.

The note is written before the file's bytes are stored, and deleted in the transaction that writes the row. So
any failure in between, including a kill, leaves a note, and there is no need to guess from an exception
whether the row was committed. If a transaction makes a file unused, it writes a note for that file.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from django.core.exceptions import SuspiciousOperation
from django.db import connection, models, transaction
from django.db.models import F
from django.utils.timezone import now

from media_files.errors import MediaError

logger = logging.getLogger(__name__)

N = TypeVar("N", bound="RemovalNote")

# Notes resolved per storage and sweep.
MOST: Final = 1000


class _Failing(threading.local):
    """The storages that have failed so far in the commit hooks of a transaction, which run one by one."""

    def __init__(self) -> None:
        self.aliases: set[str] = set()


_failing = _Failing()
_reported: set[tuple[str, type[Exception]]] = set()


class RemovalNote(models.Model):
    """A file to remove unless a row refers to it.

    ``tried_at`` is set before the file is removed. If it is set, the file's writer must not commit its row.
    """

    storage_alias: Any
    name: Any

    due_at = models.DateTimeField(default=now)
    tried_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True

    def claim(self) -> bool:
        """Mark the note as tried. Return False if its writer is committing or the note no longer exists."""
        with transaction.atomic():
            note = type(self)._default_manager.filter(pk=self.pk)
            if connection.features.has_select_for_update_skip_locked:
                # A writer may lock the row until its transaction ends.
                note = note.select_for_update(skip_locked=True)
            pks = list(note.values_list("pk", flat=True))
            tried = type(self)._default_manager.filter(pk__in=pks)
            return bool(pks) and bool(tried.update(tried_at=now(), due_at=now()))


def remove(note: N, resolve: Callable[[N], bool]) -> bool:
    """Resolve the note now. On failure, log the error and leave the note for the sweeper.

    ``resolve`` removes the file and the note, or only the note if a row refers to the file. It returns False
    if another process has locked either, and passes on the storage's errors.
    """
    try:
        return resolve(note)
    except Exception as error:  # noqa: BLE001 - the note stays after any error of the storage or the database
        _report(note, error)
        return False


def remove_after_commit(note: N, resolve: Callable[[N], bool]) -> None:
    """Resolve the note after the current transaction commits."""
    _failing.aliases.clear()
    transaction.on_commit(partial(_remove_unless_failing, note, resolve), robust=True)


def remove_left_over(notes: models.QuerySet[N], resolve: Callable[[N], bool]) -> int:
    """Resolve the due notes of one storage and return how many were resolved.

    Resolves at most `MOST`, the least recently tried first. After its first failure the storage is not used
    again in this call, so that an unresponsive one costs a single timeout.
    """
    due = notes.filter(due_at__lte=now())
    page = list(due.order_by(F("tried_at").asc(nulls_first=True), "id")[:MOST])
    resolved = 0
    for number, note in enumerate(page):
        try:
            resolved += resolve(note)
        except Exception as error:  # noqa: BLE001 - one storage's failure must not stop the sweep
            _report(note, error)
            if _is_of_the_name(error):
                _put_back(notes, [note])
                continue
            # The next sweep tries newer notes first, then the rest of this page, then this note.
            _put_back(notes, page[number + 1 :])
            _put_back(notes, [note])
            break
        _reported.difference_update({kind for kind in _reported if kind[0] == note.storage_alias})
    return resolved


def _remove_unless_failing(note: N, resolve: Callable[[N], bool]) -> None:
    """Remove the file, or leave it to the sweeper if another one of the same transaction failed: deleting a
    hundred files from an unresponsive storage must cost one timeout, not a hundred."""
    if note.storage_alias in _failing.aliases:
        return
    try:
        resolve(note)
    except Exception as error:  # noqa: BLE001 - as above
        _failing.aliases.add(note.storage_alias)
        _report(note, error)


def _put_back(notes: models.QuerySet[N], page: Sequence[N]) -> None:
    """Move these notes to the end of the queue."""
    notes.filter(pk__in=[note.pk for note in page]).update(tried_at=now())


def _is_of_the_name(error: Exception) -> bool:
    """Return whether the storage works and only this name cannot be removed."""
    return isinstance(error, SuspiciousOperation) or (isinstance(error, MediaError) and not error.transient)


def _report(note: RemovalNote, error: Exception) -> None:
    """Log the first failure of each kind as a warning: it recurs every minute until the storage answers."""
    alias = note.storage_alias
    kind = (alias, type(error))
    level = logging.DEBUG if kind in _reported else logging.WARNING
    _reported.add(kind)
    logger.log(level, "Could not remove %s yet, so the sweeper tries again: %s", note, error)

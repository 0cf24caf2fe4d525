"""Notes of files that must be removed unless a row names them.

A file is noted before its bytes are stored, and the note is deleted in the transaction that writes the row.
So whatever fails in between, a kill included, leaves a note, and nobody has to guess from an exception
whether the row was committed. A file that a transaction makes unused is noted in that transaction.
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

# Notes of each storage that one sweep resolves.
MOST: Final = 1000


class _Failing(threading.local):
    """The storages that failed in the commit hooks of one transaction, which run one after the other."""

    def __init__(self) -> None:
        self.aliases: set[str] = set()


_failing = _Failing()
_reported: set[tuple[str, type[Exception]]] = set()


class RemovalNote(models.Model):
    """A file to remove unless a row names it.

    ``tried_at`` is set before the file is removed: a writer whose note has it must not commit its row.
    """

    storage_alias: Any
    name: Any

    due_at = models.DateTimeField(default=now)
    tried_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True

    def claim(self) -> bool:
        """Mark the note as tried; False where its writer is committing, or it is gone."""
        with transaction.atomic():
            note = type(self)._default_manager.filter(pk=self.pk)
            if connection.features.has_select_for_update_skip_locked:
                # A writer may hold the row for as long as its transaction lasts.
                note = note.select_for_update(skip_locked=True)
            pks = list(note.values_list("pk", flat=True))
            tried = type(self)._default_manager.filter(pk__in=pks)
            return bool(pks) and bool(tried.update(tried_at=now(), due_at=now()))


def remove(note: N, resolve: Callable[[N], bool]) -> bool:
    """Resolve the note now; on failure log it and leave the note for the sweeper.

    ``resolve`` removes the file and the note, or only the note where a row names the file. It returns False
    where another process holds either, and raises whatever the storage does.
    """
    try:
        return resolve(note)
    except Exception as error:  # noqa: BLE001 - the note stays, whatever the storage or the database raised
        _report(note, error)
        return False


def remove_after_commit(note: N, resolve: Callable[[N], bool]) -> None:
    """Resolve the note once the current transaction has been committed."""
    _failing.aliases.clear()
    transaction.on_commit(partial(_remove_unless_failing, note, resolve), robust=True)


def remove_left_over(notes: models.QuerySet[N], resolve: Callable[[N], bool]) -> int:
    """Resolve the notes of one storage that are due; return how many.

    At most `MOST`, the least recently tried first. After its first failure the storage is not asked again in
    this call, so that a silent one costs a single timeout.
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
            # The rest comes before this note when it is tried again, and after all that is newer.
            _put_back(notes, page[number + 1 :])
            _put_back(notes, [note])
            break
        _reported.difference_update({kind for kind in _reported if kind[0] == note.storage_alias})
    return resolved


def _remove_unless_failing(note: N, resolve: Callable[[N], bool]) -> None:
    """Remove the file. Where one of the same transaction failed, the sweeper does it: a silent storage must
    cost whoever deletes a hundred files one timeout, not a hundred."""
    if note.storage_alias in _failing.aliases:
        return
    try:
        resolve(note)
    except Exception as error:  # noqa: BLE001 - as above
        _failing.aliases.add(note.storage_alias)
        _report(note, error)


def _put_back(notes: models.QuerySet[N], page: Sequence[N]) -> None:
    """Have all other notes tried before these."""
    notes.filter(pk__in=[note.pk for note in page]).update(tried_at=now())


def _is_of_the_name(error: Exception) -> bool:
    """Whether the storage answered, and only this name cannot be removed."""
    return isinstance(error, SuspiciousOperation) or (isinstance(error, MediaError) and not error.transient)


def _report(note: RemovalNote, error: Exception) -> None:
    """Log the first failure of each kind; it repeats each minute until the storage answers."""
    alias = note.storage_alias
    kind = (alias, type(error))
    level = logging.DEBUG if kind in _reported else logging.WARNING
    _reported.add(kind)
    logger.log(level, "Could not remove %s yet, so the sweeper tries again: %s", note, error)

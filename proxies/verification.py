"""Compare all rows with all stored files, in both directions.

The comparison runs in steps, each in pages: of rows by id, or of names as a storage lists them. So memory use
does not grow with the library, and an interrupted run resumes at the page it had reached.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from itertools import islice
from typing import ClassVar, Final, TypeVar

from django.core.exceptions import SuspiciousFileOperation
from django.core.files.storage import InvalidStorageError

from media_files.errors import DamagedFile, SourceMissing
from media_files.models import DiscardedFile, MediaFile
from media_files.storage import probe
from media_files.storage.base import Found, MediaStorage, media_storage
from proxies.batches import lifecycle
from proxies.batches.selection import Selection
from proxies.conf import conf
from proxies.models import Batch, DiscardedProxy, Proxy, proxies_storage
from proxies.names import FOLDERS
from proxies.stored_file import mark_damaged

Row = TypeVar("Row", MediaFile, Proxy)

# Rows or names compared at once; a query has this many parameters.
PAGE: Final = 500
# Concurrent lookups: in a bucket each takes some 20 ms.
_LOOK_UPS: Final = 16
# The folders that NovaProxy writes below each storage's folder or prefix.
PREFIXES: Final = {"originals": ("original",), "proxies": tuple(FOLDERS.values())}


class Kind(StrEnum):
    """The subject of a finding: a row's file, or a file without a row."""

    ORIGINAL = "original"
    PROXY = "proxy"
    UNKNOWN_FILE = "unknown_file"
    TEMPORARY = "temporary"


class State(StrEnum):
    """What is wrong with it."""

    MISSING = "missing"
    WRONG_SIZE = "wrong_size"
    WRONG_HASH = "wrong_hash"
    UNKNOWN = "unknown"
    OUTDATED = "outdated"


class Action(StrEnum):
    """How a repair handles it."""

    NONE = "none"
    MAKE_AGAIN = "make_again"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem found.

    Attributes:
        kind: the kind of its subject.
        state: what is wrong.
        action: how a repair handles it, or has handled it.
        id: the row's id; None for a file without a row.
        path: the file's name in its storage.
        bytes: the size recorded in the row, or found.
    """

    kind: Kind
    state: State
    action: Action
    id: int | None
    path: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Page:
    """The result of one page.

    Attributes:
        step: the name of the step that it belongs to.
        after: the id up to which the step is done; 0 if the step can only be resumed at its beginning.
        checked: how many rows or files were compared.
        bytes: their total size.
        findings: the problems found.
    """

    step: str
    after: int
    checked: int
    bytes: int
    findings: list[Finding]


@dataclass(frozen=True, slots=True)
class Verification:
    """One run, with its options.

    Attributes:
        deep: read every file that has a row, and compare its SHA-256.
        repair: delete temporaries, and mark damaged proxies so that `make_again` gets them made again.
        delete_unknown: with ``repair``, delete files without a row.
        guard: ignore younger files without a row, because the row may be about to be written.
    """

    deep: bool = False
    repair: bool = False
    delete_unknown: bool = False
    guard: timedelta = timedelta(hours=1)

    STEPS: ClassVar = ("originals", "proxies", "files", "temporaries")

    def pages(self, step: str = STEPS[0], after: int = 0) -> Iterator[Page]:
        """Compare page by page, starting in ``step`` after the id ``after``.

        Raises:
            StorageError: a storage does not respond.
        """
        run = {
            "originals": self._originals,
            "proxies": self._proxies,
            "files": self._unknown_files,
            "temporaries": self._temporaries,
        }
        for name in self.STEPS[self.STEPS.index(step) :]:
            yield from run[name](after)
            after = 0

    # -- Rows, and their files -------------------------------------------------------------------

    def _originals(self, after: int) -> Iterator[Page]:
        while rows := list(MediaFile.objects.filter(pk__gt=after).order_by("pk")[:PAGE]):
            after = rows[-1].pk
            states = _in_parallel(self._original_state, rows)
            findings = [
                Finding(Kind.ORIGINAL, state, Action.NONE, row.pk, str(row.file.name), row.bytes or 0)
                for row, state in zip(rows, states, strict=True)
                if state is not None
            ]
            yield Page("originals", after, len(rows), sum(row.bytes or 0 for row in rows), findings)

    def _original_state(self, row: MediaFile) -> State | None:
        try:
            storage = media_storage(row.storage_alias)
        except InvalidStorageError:
            return State.MISSING
        return self._state(storage, str(row.file.name), row.bytes, row.sha256, row.etag)

    def _proxies(self, after: int) -> Iterator[Page]:
        while rows := self._proxy_page(after):
            after = rows[-1].pk
            states = _in_parallel(self._proxy_state, rows)
            findings = [
                self._proxy_finding(row, state)
                for row, state in zip(rows, states, strict=True)
                if state is not None
            ]
            yield Page("proxies", after, len(rows), sum(row.bytes for row in rows), findings)

    def _proxy_page(self, after: int) -> list[Proxy]:
        return list(Proxy.objects.filter(pk__gt=after).select_related("source").order_by("pk")[:PAGE])

    def _proxy_state(self, row: Proxy) -> State | None:
        state = self._state(proxies_storage(), str(row.image.name), row.bytes, row.sha256, row.etag)
        return state or (State.OUTDATED if _is_outdated(row) else None)

    def _proxy_finding(self, row: Proxy, state: State) -> Finding:
        action = Action.MAKE_AGAIN if _can_be_made(row) else Action.NONE
        if self.repair and action == Action.MAKE_AGAIN and state != State.OUTDATED:
            mark_damaged(row, SourceMissing(f"{row.image.name!r} was found {state}."))
        return Finding(Kind.PROXY, state, action, row.pk, str(row.image.name), row.bytes)

    def _state(
        self, storage: MediaStorage, name: str, size: int | None, sha256: str, etag: str
    ) -> State | None:
        """Compare one stored file with its row. Does not access the database."""
        try:
            stored = storage.stat(name)
            if size is not None and stored.bytes != size:
                return State.WRONG_SIZE
            is_another = bool(etag and stored.etag and stored.etag != etag)
            if is_another and not sha256:
                return State.WRONG_HASH
            if sha256 and (self.deep or is_another):
                storage.check_content(name, size=stored.bytes, sha256=sha256)
        except DamagedFile:
            return State.WRONG_HASH
        except (SourceMissing, SuspiciousFileOperation):
            return State.MISSING
        return None

    # -- Files without rows ----------------------------------------------------------------------

    def _unknown_files(self, after: int) -> Iterator[Page]:
        for alias, prefixes in PREFIXES.items():
            storage = media_storage(alias)
            for prefix in prefixes:
                for files in _pages_of(storage.walk(prefix)):
                    findings = [self._unknown(storage, file) for file in self._without_row(files)]
                    yield Page("files", 0, len(files), sum(file.bytes for file in files), findings)

    def _without_row(self, files: Sequence[Found]) -> list[Found]:
        """Return the files that are old enough and that no row and no removal note refers to."""
        youngest = time.time() - self.guard.total_seconds()
        names = [file.name for file in files if file.modified_at <= youngest]
        known = {
            *MediaFile.objects.filter(file__in=names).values_list("file", flat=True),
            *Proxy.objects.filter(image__in=names).values_list("image", flat=True),
            *DiscardedFile.objects.filter(name__in=names).values_list("name", flat=True),
            *DiscardedProxy.objects.filter(name__in=names).values_list("name", flat=True),
        }
        return [file for file in files if file.modified_at <= youngest and file.name not in known]

    def _unknown(self, storage: MediaStorage, file: Found) -> Finding:
        if self.repair and self.delete_unknown:
            storage.delete(file.name)
        action = Action.DELETE if self.delete_unknown else Action.NONE
        return Finding(Kind.UNKNOWN_FILE, State.UNKNOWN, action, None, file.name, file.bytes)

    def _temporaries(self, after: int) -> Iterator[Page]:
        youngest = time.time() - self.guard.total_seconds()
        # Two aliases may refer to the same folder.
        storages = {(it := media_storage(alias)).label: it for alias in probe.configured_aliases()}
        for storage in storages.values():
            probes = [file for file in storage.walk(probe.FOLDER) if file.modified_at <= youngest]
            findings = [
                Finding(Kind.TEMPORARY, State.UNKNOWN, Action.DELETE, None, file.name, file.bytes)
                for file in [*storage.temporaries(self.guard), *probes]
            ]
            if self.repair:
                storage.sweep_temporaries(self.guard)
                for file in probes:
                    storage.delete(file.name)
            yield Page("temporaries", 0, len(findings), sum(each.bytes for each in findings), findings)


def make_again() -> list[Batch]:
    """Start a batch for each profile with outdated proxies, including those that a run marked as damaged."""
    batches = []
    for name, profile in conf().profiles.items():
        outdated = Proxy.objects.stale(profile).filter(file_type=Proxy.FileType.IMAGE)
        files = MediaFile.objects.filter(pk__in=outdated.values("source"))
        if files.exists():
            parameters = {"force": False, "profile": name}
            batches.append(lifecycle.start("image-proxy", Selection(files), parameters, with_settled=False))
    return batches


def _can_be_made(row: Proxy) -> bool:
    return row.file_type == Proxy.FileType.IMAGE and row.profile in conf().profiles


def _is_outdated(row: Proxy) -> bool:
    if not _can_be_made(row):
        return row.source_fingerprint != row.source.fingerprint
    return not row.is_current(row.source, conf().profiles[row.profile])


def _in_parallel(judge: Callable[[Row], State | None], rows: Sequence[Row]) -> list[State | None]:
    with ThreadPoolExecutor(_LOOK_UPS) as pool:
        return list(pool.map(judge, rows))


def _pages_of(files: Iterable[Found]) -> Iterator[list[Found]]:
    iterator = iter(files)
    while page := list(islice(iterator, PAGE)):
        yield page

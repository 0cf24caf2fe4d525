"""The assembly line of a batch's proxies: originals are read ahead, proxies stored behind, and the main
thread, which alone touches the database, renders in between."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO, Final

from django.db import DatabaseError

from media_files.errors import MediaError
from media_files.storage import SourceChanged
from proxies.batches.work import Work
from proxies.imaging import Rendered
from proxies.models import BatchItem
from proxies.services import ImageProxyService, LeaseLost, Making, ProxyBusy, ProxyResult

logger = logging.getLogger(__name__)

# Originals read ahead and proxies being stored: enough to hide 100 ms a request behind renders of
# 50 ms, few enough to hold little in memory (an original above some MB is spooled to disk).
AHEAD: Final = 3
BEHIND: Final = 4


@dataclass(slots=True)
class Piece:
    """One item on the line."""

    item: BatchItem
    making: Making
    stream: Future[BinaryIO]
    rendered: Rendered | None = None
    stored: Future[None] | None = None


class AssemblyLine:
    """Brings the items of one `Work` to their end, whatever that is for each."""

    def __init__(self, service: ImageProxyService, work: Work, *, force: bool) -> None:
        self._service = service
        self._work = work
        self._force = force
        self._ahead: deque[Piece] = deque()
        self._behind: deque[Piece] = deque()
        self._pool = _pool(os.getpid())

    def run(self) -> None:
        """Until the work gives no more items and the last has been recorded.

        An exception that no item is to blame for leaves nothing behind: what is on the line is
        abandoned and, with what was not come to, given back by the caller.
        """
        items = iter(self._work)
        try:
            while self._read_ahead(items):
                self._render_next()
                self._record_stored(most_waiting=BEHIND)
            self._record_stored(most_waiting=0)
        finally:
            self._clear()

    # -- Before the render -----------------------------------------------------------------------

    def _read_ahead(self, items: Iterator[BatchItem]) -> bool:
        """Fill up what is read ahead; False where nothing is left to render."""
        while len(self._ahead) < AHEAD and (item := next(items, None)) is not None:
            self._begin(item)
        return bool(self._ahead)

    def _begin(self, item: BatchItem) -> None:
        try:
            making = self._service.begin(item.file_id, force=self._force)
        except ProxyBusy:
            self._work.put_back(item, after=ProxyBusy.AGAIN_AFTER)
        except MediaError as error:
            self._fail(item, error)
        else:
            if isinstance(making, ProxyResult):
                self._record(item, making)
            else:
                self._ahead.append(Piece(item, making, self._pool.submit(self._service.fetch, making)))

    # -- The render, and what follows ------------------------------------------------------------

    def _render_next(self) -> None:
        piece = self._ahead.popleft()
        try:
            with piece.stream.result() as stream:
                if not self._work.charge(piece.item):
                    self._service.abandon(piece.making)
                    return
                piece.rendered = self._service.render(piece.making, stream)
        except BaseException as fault:  # noqa: BLE001 - `_end_badly` raises again what no item is to blame for
            self._end_badly(piece, fault)
            return
        if piece.rendered is not None:
            piece.stored = self._pool.submit(self._service.store, piece.making, piece.rendered)
        self._behind.append(piece)

    def _record_stored(self, *, most_waiting: int) -> None:
        """Record what has been stored; wait for as many that no more than these still wait."""
        while self._behind:
            first = self._behind[0]
            if len(self._behind) <= most_waiting and first.stored is not None and not first.stored.done():
                return
            self._finish(self._behind.popleft())

    def _finish(self, piece: Piece) -> None:
        try:
            if piece.stored is not None:
                piece.stored.result()
            self._service.finish(
                piece.making, piece.rendered, within=lambda result: self._record(piece.item, result)
            )
        except BaseException as fault:  # noqa: BLE001 - as above
            self._end_badly(piece, fault)

    # -- Ends ------------------------------------------------------------------------------------

    def _record(self, item: BatchItem, result: ProxyResult) -> None:
        self._work.record(item, result.outcome, result.told_reasons)

    def _fail(self, item: BatchItem, error: MediaError) -> None:
        self._work.fail(item, error)
        self._service.note_failure(item.file_id, error)

    def _end_badly(self, piece: Piece, fault: BaseException) -> None:
        """Sort a fault: the original changed, the file's own, the database's, or one without a name."""
        self._service.abandon(piece.making)
        if isinstance(fault, SourceChanged | LeaseLost):
            self._work.put_back(piece.item)
        elif isinstance(fault, MediaError):
            self._fail(piece.item, fault)
        elif isinstance(fault, DatabaseError | KeyboardInterrupt):
            raise fault
        else:
            # The queue's time-out, by which this task must end (a SystemExit), or a fault of ours.
            logger.error("The proxy of file %s broke off", piece.item.file_id, exc_info=fault)
            self._work.crashed(piece.item, fault)
            raise fault

    def _clear(self) -> None:
        """Abandon what is still on the line; nothing is, where all went its way."""
        for piece in [*self._ahead, *self._behind]:
            for future in (piece.stream, piece.stored):
                if future is not None and not future.cancel() and future.exception() is None:
                    result = future.result()
                    if result is not None:
                        result.close()
            self._service.abandon(piece.making)
        self._ahead.clear()
        self._behind.clear()


@lru_cache(maxsize=1)
def _pool(pid: int) -> ThreadPoolExecutor:
    """One pool a process, made after the fork: threads do not survive one."""
    return ThreadPoolExecutor(max_workers=AHEAD + BEHIND, thread_name_prefix="storage")

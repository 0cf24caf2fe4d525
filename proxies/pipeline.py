"""The pipeline that makes a batch's proxies: threads read originals ahead and store finished proxies, while
the main thread, which alone accesses the database, renders."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO, Final

from media_files.database import OUTAGES
from media_files.errors import MachineLimit, MediaError
from proxies.batches.claim import Claim
from proxies.models import BatchItem
from proxies.rendering.render import Rendered
from proxies.services import ImageProxyService, ProxyResult, RenderJob

logger = logging.getLogger(__name__)

# Originals read ahead and proxies being stored: enough to hide 100 ms per request behind renders of
# 50 ms, few enough to use little memory (an original above some MB is spooled to disk).
AHEAD: Final = 3
BEHIND: Final = 4


@dataclass(slots=True)
class Piece:
    """One item in the pipeline."""

    item: BatchItem
    making: RenderJob
    stream: Future[BinaryIO]
    rendered: Rendered | None = None
    stored: Future[None] | None = None


class AssemblyLine:
    """Process the items of one `Claim`, each to its result or failure."""

    def __init__(self, service: ImageProxyService, claim: Claim, *, force: bool) -> None:
        self._service = service
        self._claim = claim
        self._force = force
        self._ahead: deque[Piece] = deque()
        self._behind: deque[Piece] = deque()
        self._pool = _pool(os.getpid())

    def run(self) -> None:
        """Run until the claim yields no more items and the last one has been recorded.

        An exception that no item caused leaves nothing behind: items in the pipeline are abandoned and, along
        with those not reached, put back by the caller.
        """
        items = iter(self._claim)
        try:
            while self._read_ahead(items):
                self._render_next()
                self._record_stored(most_waiting=BEHIND)
            self._record_stored(most_waiting=0)
        finally:
            self._clear()

    # -- Before the render -----------------------------------------------------------------------

    def _read_ahead(self, items: Iterator[BatchItem]) -> bool:
        """Read further originals ahead; return False if nothing is left to render."""
        while len(self._ahead) < AHEAD and (item := next(items, None)) is not None:
            self._begin(item)
        return bool(self._ahead)

    def _begin(self, item: BatchItem) -> None:
        try:
            making = self._service.begin(item.file_id, force=self._force)
            if isinstance(making, ProxyResult):
                self._record(item, making)
            else:
                self._ahead.append(self._fetched(item, making))
        except MediaError as error:
            self._fail(item, error)
        except BaseException as fault:  # noqa: BLE001 - `failed` raises what the next item would meet
            self._claim.failed(item, fault)

    def _fetched(self, item: BatchItem, making: RenderJob) -> Piece:
        try:
            return Piece(item, making, self._pool.submit(self._service.fetch, making))
        except RuntimeError as error:  # no thread can be started
            self._service.abandon(making)
            raise MachineLimit(
                f"{error}. Raise the limits of this process; work then resumes automatically."
            ) from error

    # -- The render, and what follows ------------------------------------------------------------

    def _render_next(self) -> None:
        piece = self._ahead.popleft()
        try:
            with piece.stream.result() as stream:
                if not self._claim.charge(piece.item):
                    self._service.abandon(piece.making)
                    return
                piece.rendered = self._service.render(piece.making, stream)
            if piece.rendered is not None:
                self._service.announce(piece.making, piece.rendered)
        except BaseException as fault:  # noqa: BLE001 - as above
            self._end_badly(piece, fault)
            return
        if piece.rendered is not None:
            piece.stored = self._pool.submit(self._service.store, piece.making, piece.rendered)
        self._behind.append(piece)

    def _record_stored(self, *, most_waiting: int) -> None:
        """Record the stored proxies; wait until at most ``most_waiting`` are still being stored."""
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
        self._claim.record(item, result.outcome, result.reason_codes)

    def _fail(self, item: BatchItem, error: MediaError) -> None:
        self._claim.fail(item, error)
        self._service.note_failure(item.file_id, error)

    def _end_badly(self, piece: Piece, fault: BaseException) -> None:
        """Handle an exception by its kind: a `MediaError`, a database error, or an unexpected one."""
        self._abandon(piece)
        if isinstance(fault, MediaError):
            self._fail(piece.item, fault)
        else:
            self._claim.failed(piece.item, fault)

    def _abandon(self, piece: Piece) -> None:
        """Release the proxy's lease. If the database does not respond, the lease expires by itself."""
        try:
            self._service.abandon(piece.making)
        except OUTAGES as outage:
            logger.warning("The lease on file %s is left to run out: %s", piece.item.file_id, outage)

    def _clear(self) -> None:
        """Abandon what is still in the pipeline; after a normal run, nothing is."""
        for piece in [*self._ahead, *self._behind]:
            for future in (piece.stream, piece.stored):
                if future is not None and not future.cancel() and future.exception() is None:
                    result = future.result()
                    if result is not None:
                        result.close()
            self._abandon(piece)
        self._ahead.clear()
        self._behind.clear()


@lru_cache(maxsize=1)
def _pool(pid: int) -> ThreadPoolExecutor:
    """Return the process's pool, created after the fork, because threads do not survive a fork."""
    return ThreadPoolExecutor(max_workers=AHEAD + BEHIND, thread_name_prefix="storage")

"""A batch's calls: many in flight in threads, under one rate and one budget; the main thread, which alone
touches the database, begins and records them."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from django.db import DatabaseError, transaction

from analysis import budgets, claims, rates
from analysis.conf import conf
from analysis.errors import AnalysisBusy, AnalysisError
from analysis.services import Analysed, AnalysisService, Heard, Job
from analysis.wishes import Run
from media_files.errors import MediaError
from proxies.batches import lifecycle
from proxies.batches.lifecycle import WrongState
from proxies.batches.work import Work
from proxies.models import BatchItem
from proxies.services import ProxyBusy

logger = logging.getLogger(__name__)

# Jobs that are begun ahead of their moment: enough to miss no place in the rate, few enough to take none from
# the other workers.
_AHEAD: Final = 2
# Seconds after which the main thread looks up from waiting for answers.
_LOOK_UP: Final = 0.2


@dataclass(slots=True)
class Piece:
    """One item on the line.

    Attributes:
        item: of the ledger.
        job: what is asked about its file.
        moment: when its calls may begin, in seconds since the epoch.
        future: its calls, once they are begun.
    """

    item: BatchItem
    job: Job
    moment: float
    future: Future[list[Heard]] | None = None


class CallLine:
    """Brings the items of one `Work` to their end.

    The first calls of a process go one at a time, until one of them is answered: what every call would fail
    by, as credentials that may not, is then met once and not as often as calls may be in flight.
    """

    def __init__(self, run: Run, work: Work) -> None:
        self._run = run
        self._work = work
        self._service: AnalysisService = run.service(work.batch.pk)
        self._waiting: deque[Piece] = deque()
        self._flying: list[Piece] = []
        self._pool = _pool(os.getpid(), conf().calls_in_flight)
        # No further file is begun; and no call either, for it would meet what another has met.
        self._is_stopped = self._is_in_vain = False

    def run(self) -> None:
        """Until the work gives no more items, and the last call has been recorded."""
        items = iter(self._work)
        try:
            while self._begin_some(items) or self._waiting or self._flying:
                self._send_due()
                self._record_answered()
        finally:
            self._clear()

    # -- Before the calls ------------------------------------------------------------------------

    def _begin_some(self, items: Iterator[BatchItem]) -> bool:
        """Take up what there is room for; False where there is nothing left to take up."""
        while not self._is_stopped and self._has_room():
            item = next(items, None)
            if item is None:
                return False
            self._begin(item)
        return not self._is_stopped

    def _has_room(self) -> bool:
        most = conf().calls_in_flight if _proven(os.getpid(), self._run.provider.name) else 1
        return len(self._waiting) < _AHEAD and len(self._waiting) + len(self._flying) < most

    def _begin(self, item: BatchItem) -> None:
        # A proxy may have to be made first, and making one may kill the process.
        if not self._work.charge(item):
            return
        try:
            job = self._service.begin(item.file_id)
        except (AnalysisBusy, ProxyBusy) as busy:
            self._work.put_back(item, after=busy.AGAIN_AFTER)
        except MediaError as error:
            self._fail(item, error)
        except Exception as fault:
            self._break(item, fault)
            raise
        else:
            self._reserve(item, job)

    def _reserve(self, item: BatchItem, job: Job) -> None:
        """Settle at once what costs nothing; for the rest set money aside and take a place in the rate."""
        if not job.calls:
            self._finish(Piece(item, job, 0.0), [])
            return
        if not self._service.set_aside(job, self._run.budget):
            self._service.abandon(job)
            self._work.put_back(item)
            spent = budgets.spent(self._work.batch.pk)
            self._stop(
                f"The budget of ${self._run.budget} is used up: ${spent:.4f} are spent. Go on with a larger "
                "one; what was answered is not paid for twice.",
                budgets.USED_UP,
                is_in_vain=False,
            )
            return
        moment = rates.reserve(self._run.provider.name, conf().calls_per_second, len(job.calls))
        self._waiting.append(Piece(item, job, moment))

    # -- The calls -------------------------------------------------------------------------------

    def _send_due(self) -> None:
        while self._waiting and (self._waiting[0].moment <= time.time() or self._is_in_vain):
            piece = self._waiting.popleft()
            if self._is_in_vain:
                self._give_back(piece)
            else:
                piece.future = self._pool.submit(self._service.carry_out, piece.job)
                self._flying.append(piece)

    def _record_answered(self) -> None:
        """Record what has been answered; wait for it no longer than until the next call is due."""
        patience = _LOOK_UP
        if self._waiting:
            patience = min(patience, max(0.0, self._waiting[0].moment - time.time()))
        if not self._flying:
            time.sleep(patience)
            return
        futures = [piece.future for piece in self._flying if piece.future is not None]
        answered, _ = wait(futures, patience, FIRST_COMPLETED)
        for piece in [piece for piece in self._flying if piece.future in answered]:
            self._finish(piece, self._heard(piece))
            self._flying.remove(piece)

    def _heard(self, piece: Piece) -> list[Heard]:
        """What a file's calls came to."""
        if piece.future is None:
            return []
        try:
            return piece.future.result()
        except Exception as fault:
            self._break(piece.item, fault)
            raise

    # -- Ends ------------------------------------------------------------------------------------

    def _finish(self, piece: Piece, heard: list[Heard]) -> None:
        if any(each.answer for each in heard):
            _prove(os.getpid(), self._run.provider.name)
        try:
            result = self._service.finish(
                piece.job, heard, within=lambda result: self._settle(piece.item, result)
            )
        except MediaError as error:  # the file went meanwhile
            self._service.abandon(piece.job)
            self._fail(piece.item, error)
            return
        if isinstance(result.error, AnalysisError) and result.error.stops_batch:
            self._stop(str(result.error), result.error.code)

    def _settle(self, item: BatchItem, result: Analysed) -> None:
        """The item's end, in the transaction of its answers."""
        if result.error is None:
            self._work.record(item, result.outcome, [])
        elif isinstance(result.error, AnalysisError) and result.error.stops_batch:
            self._work.put_back(item)
        else:
            self._work.fail(item, result.error)

    def _fail(self, item: BatchItem, error: MediaError) -> None:
        if isinstance(error, AnalysisError) and error.stops_batch:
            self._work.put_back(item)
            self._stop(str(error), error.code)
        else:
            self._work.fail(item, error)

    def _break(self, item: BatchItem, fault: Exception) -> None:
        """A fault without a name is ours: it counts, and is not hidden."""
        logger.error("The analysis of file %s broke off", item.file_id, exc_info=fault)
        self._work.crashed(item, fault)

    def _stop(self, reason: str, code: str, *, is_in_vain: bool = True) -> None:
        """Pause the batch: every further file would meet the same, and so would calls that are still to be
        made, unless they are not ``in_vain``."""
        self._is_stopped, self._is_in_vain = True, self._is_in_vain or is_in_vain
        with suppress(WrongState):  # another worker, or a person, was faster
            lifecycle.pause(self._work.batch, reason=reason, code=code)

    def _give_back(self, piece: Piece) -> None:
        self._service.abandon(piece.job)
        self._work.put_back(piece.item)

    def _clear(self) -> None:
        """Leave nothing behind where the work broke off: no call is begun, those in flight are told of."""
        for piece in self._waiting:
            self._give_back(piece)
        for piece in self._flying:
            if piece.future is not None and piece.future.cancel():
                self._give_back(piece)
                continue
            with suppress(DatabaseError), transaction.atomic():
                for call in piece.job.calls:
                    claims.break_off(call.row)
        self._waiting.clear()
        self._flying.clear()


@lru_cache(maxsize=1)
def _pool(pid: int, calls: int) -> ThreadPoolExecutor:
    """One pool a process, made after the fork: threads do not survive one."""
    return ThreadPoolExecutor(max_workers=calls, thread_name_prefix="analysis")


_answered: set[tuple[int, str]] = set()


def _proven(pid: int, provider: str) -> bool:
    """Whether a call of this process has been answered."""
    return (pid, provider) in _answered


def _prove(pid: int, provider: str) -> None:
    _answered.add((pid, provider))

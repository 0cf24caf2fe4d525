"""Run a batch's calls: many in flight in threads, under one rate limit and one budget.

Only the main thread uses the database; it starts and records the calls.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from analysis import budgets, inflight, rate_limit
from analysis.budgets import Grant
from analysis.conf import conf
from analysis.errors import AnalysisError
from analysis.jobs import Analysed, CallResult, Job
from analysis.options import Run
from analysis.services import AnalysisService
from media_files.database import OUTAGES
from media_files.errors import MediaError
from proxies.batches import lifecycle
from proxies.batches.claim import Claim
from proxies.batches.lifecycle import WrongState
from proxies.models import BatchItem
from proxies.processes.control_dir import answers_awaited

logger = logging.getLogger(__name__)

# Jobs prepared ahead of time: enough to use every slot of the rate limit, few enough to leave slots for the
# other workers.
_AHEAD: Final = 2
# Maximum seconds that the main thread waits for answers at a time.
_LOOK_UP: Final = 0.2


@dataclass(slots=True)
class Piece:
    """One batch item in the pipeline.

    Attributes:
        item: the batch item.
        job: the calls for its file.
        moment: when its calls may start, in seconds since the epoch.
        future: the running calls, once started.
    """

    item: BatchItem
    job: Job
    moment: float
    future: Future[list[CallResult]] | None = None


class CallLine:
    """Process the items of one `Claim`.

    A process makes one call at a time until the first is answered. A fault common to all calls, such as
    missing permissions, then fails one call and not as many as may be in flight.
    """

    def __init__(self, run: Run, claim: Claim) -> None:
        self._run = run
        self._claim = claim
        self._parameters = claim.batch.parameters
        self._service: AnalysisService = run.service(claim.batch.pk, is_stopping=claim.is_stopping)
        self._waiting: deque[Piece] = deque()
        self._flying: list[Piece] = []
        # The next piece, while calls in flight have reserved the rest of the budget.
        self._unfunded: Piece | None = None
        # Open while calls are in flight, so that a stop waits for their answers.
        self._awaited = ExitStack()
        self._pool = _pool(os.getpid(), conf().calls_in_flight)
        # Start no further file; make no prepared call either, because it would fail like another one did.
        self._is_stopped = self._is_in_vain = False

    def run(self) -> None:
        """Run until the claim has no more items and the last call is recorded."""
        items = iter(self._claim)
        try:
            while self._begin_some(items) or self._waiting or self._flying or self._unfunded:
                self._fund_again()
                self._send_due()
                self._record_answered()
        finally:
            self._clear()

    # -- Before the calls ------------------------------------------------------------------------

    def _begin_some(self, items: Iterator[BatchItem]) -> bool:
        """Start as many items as there is room for; return False if no items are left."""
        while not self._is_stopped and not self._unfunded and self._has_room():
            item = next(items, None)
            if item is None:
                return False
            self._begin(item)
        return not self._is_stopped

    def _has_room(self) -> bool:
        most = conf().calls_in_flight if _proven(os.getpid(), self._run.provider.name) else 1
        return len(self._waiting) < _AHEAD and len(self._waiting) + len(self._flying) < most

    def _begin(self, item: BatchItem) -> None:
        # Creating a missing proxy may kill the process.
        if not self._claim.charge(item):
            return
        try:
            job = self._service.begin(item.file_id)
        except MediaError as error:
            self._fail(item, error)
        except BaseException as fault:  # noqa: BLE001 - `failed` reraises what would fail the next item too
            self._claim.failed(item, fault)
        else:
            self._take_up(item, job)

    def _take_up(self, item: BatchItem, job: Job) -> None:
        try:
            # From here on the process only waits: if it is killed now, the file is not to blame.
            self._claim.survived(item)
            self._reserve(item, job)
        except BaseException as fault:  # noqa: BLE001 - as above
            with suppress(*OUTAGES):
                self._service.abandon(job)
            self._claim.failed(item, fault)

    def _reserve(self, item: BatchItem, job: Job) -> None:
        """Finish a job without calls at once; for others, reserve the cost and a slot of the rate limit."""
        piece = Piece(item, job, 0.0)
        if not job.calls:
            self._finish(piece, [])
            return
        grant = self._service.reserve(job, self._run.budget)
        if grant is Grant.GRANTED:
            piece.moment = rate_limit.reserve(
                self._run.provider.name, conf().calls_per_second, len(job.calls)
            )
            self._waiting.append(piece)
        elif grant is Grant.WAIT:
            self._unfunded = piece
        else:
            self._give_back(piece)
            # No process has a call in flight now, so this sum is final.
            spent = budgets.spent(self._claim.batch.pk)
            self._stop(
                f"The budget of ${self._run.budget} is used up: ${spent:.4f} was spent. Resume with a larger "
                "budget; answers that were paid for are kept.",
                budgets.USED_UP,
                is_in_vain=False,
                parameters=self._parameters,
            )

    def _fund_again(self) -> None:
        """Try again to reserve the cost of the file that waits for it."""
        piece, self._unfunded = self._unfunded, None
        if piece is None:
            return
        if self._is_stopped or self._claim.is_stopping():
            self._give_back(piece)
            return
        self._take_up(piece.item, piece.job)
        if self._unfunded and not self._waiting and not self._flying:
            # Other processes hold reservations: release those of dead ones; live ones settle in time.
            inflight.settle_broken_off()
            if self._claim.is_over():
                self._is_stopped = True

    # -- The calls -------------------------------------------------------------------------------

    def _send_due(self) -> None:
        is_in_vain = self._is_in_vain or self._claim.is_stopping()
        while self._waiting and (self._waiting[0].moment <= time.time() or is_in_vain):
            piece = self._waiting.popleft()
            if is_in_vain:
                self._give_back(piece)
                continue
            if not self._flying:
                self._awaited.enter_context(answers_awaited())
            piece.future = self._pool.submit(self._service.carry_out, piece.job)
            self._flying.append(piece)

    def _record_answered(self) -> None:
        """Record the finished calls; wait for them at most until the next call is due."""
        patience = _LOOK_UP
        if self._waiting:
            patience = min(patience, max(0.0, self._waiting[0].moment - time.time()))
        if not self._flying:
            time.sleep(patience)
            return
        futures = [piece.future for piece in self._flying if piece.future is not None]
        answered, _ = wait(futures, patience, FIRST_COMPLETED)
        for piece in [piece for piece in self._flying if piece.future in answered]:
            try:
                self._finish(piece, piece.future.result() if piece.future else [])
            except BaseException as fault:  # noqa: BLE001 - as above
                self._break_off(piece)
                self._claim.failed(piece.item, fault)
            self._flying.remove(piece)
        if not self._flying:
            self._awaited.close()

    # -- Results ---------------------------------------------------------------------------------

    def _finish(self, piece: Piece, replies: list[CallResult]) -> None:
        if any(each.answer for each in replies):
            _prove(os.getpid(), self._run.provider.name)
        try:
            result = self._service.finish(
                piece.job, replies, within=lambda result: self._settle(piece.item, result)
            )
        except MediaError as error:  # the file was deleted meanwhile
            self._service.abandon(piece.job)
            self._fail(piece.item, error)
            return
        if isinstance(result.error, AnalysisError) and result.error.stops_batch:
            self._stop(str(result.error), result.error.code)

    def _settle(self, item: BatchItem, result: Analysed) -> None:
        """Record the item's outcome in the transaction that stores its answers."""
        if result.is_partial:
            self._claim.put_back(item)
        elif result.error is None:
            self._claim.record(item, result.outcome, [])
        elif isinstance(result.error, AnalysisError) and result.error.stops_batch:
            self._claim.put_back(item)
        else:
            self._claim.fail(item, result.error)

    def _fail(self, item: BatchItem, error: MediaError) -> None:
        if isinstance(error, AnalysisError) and error.stops_batch:
            self._claim.put_back(item)
            self._stop(str(error), error.code)
        else:
            self._claim.fail(item, error)

    def _break_off(self, piece: Piece) -> None:
        """Record that a file's calls were interrupted and may have been billed."""
        with suppress(*OUTAGES):
            self._service.break_off(piece.job)

    def _stop(
        self, reason: str, code: str, *, is_in_vain: bool = True, parameters: Mapping[str, Any] | None = None
    ) -> None:
        """Pause the batch, because every further file would fail the same way.

        With ``is_in_vain``, prepared calls are not made either. With ``parameters``, pause only if the batch
        still has them.
        """
        self._is_stopped, self._is_in_vain = True, self._is_in_vain or is_in_vain
        with suppress(WrongState):  # already paused or ended by another worker or a user
            lifecycle.pause(self._claim.batch, reason=reason, code=code, parameters=parameters)

    def _give_back(self, piece: Piece) -> None:
        self._service.abandon(piece.job)
        self._claim.put_back(piece.item)

    def _clear(self) -> None:
        """Clean up after an interruption: drop prepared calls, and record those in flight as interrupted."""
        for piece in [*self._waiting, *([self._unfunded] if self._unfunded else [])]:
            self._give_back(piece)
        self._unfunded = None
        for piece in self._flying:
            if piece.future is not None and piece.future.cancel():
                self._give_back(piece)
                continue
            self._break_off(piece)
        self._waiting.clear()
        self._flying.clear()
        self._awaited.close()


@lru_cache(maxsize=1)
def _pool(pid: int, calls: int) -> ThreadPoolExecutor:
    """Return the process's thread pool, created after the fork because threads do not survive one."""
    return ThreadPoolExecutor(max_workers=calls, thread_name_prefix="analysis")


_answered: set[tuple[int, str]] = set()


def _proven(pid: int, provider: str) -> bool:
    """Return whether a call by this process has been answered."""
    return (pid, provider) in _answered


def _prove(pid: int, provider: str) -> None:
    _answered.add((pid, provider))

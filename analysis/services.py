"""Create, reuse and record analyses."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from decimal import Decimal

from django.db import transaction
from django.utils.timezone import now

from analysis import budgets, inflight, payload, rate_limit, s3_copies
from analysis.budgets import Grant
from analysis.conf import conf
from analysis.errors import (
    AccessDenied,
    AnalysisError,
    CopyMissing,
    ObjectMissing,
    ProviderError,
    ProxyDamaged,
)
from analysis.estimates import expected_cost, most_cost
from analysis.jobs import Analysed, Call, CallResult, Job
from analysis.models import Analysis, AnalysisLabel
from analysis.payload import Picture
from analysis.providers import aws, get
from analysis.providers.base import Options, Provider, Request, S3Location
from analysis.recording import ANSWER, deleted, hold, is_held, make_newest, record
from analysis.results import Result
from media_files.errors import MediaError, SourceMissing
from media_files.models import MediaFile
from proxies.outcomes import Outcome
from proxies.stored_file import mark_damaged


class AnalysisService:
    """Analyses files with one provider.

    `analyze` does everything for one file. To keep many calls in flight, a batch uses the steps: `begin`,
    `carry_out` (which does not use the database and runs in a thread), and `finish` or `abandon`.
    """

    def __init__(
        self,
        provider: Provider | str = "nova",
        *,
        profile: str = "nova",
        force: bool = False,
        options: Options | None = None,
        batch_id: int | None = None,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """``force`` repeats calls that have an answer. Once ``is_stopping`` is true, no further call is made.

        Raises:
            UnknownProvider: there is no provider with that name.
            NotConfigured: the settings do not allow the options.
            ValueError: the provider does not support the options.
        """
        self.provider = get(provider) if isinstance(provider, str) else provider
        self.profile = profile
        self.force = force
        self.batch_id = batch_id
        self._is_stopping = is_stopping
        self.requests: Sequence[Request] = self.provider.requests(options or Options())

    # -- One file --------------------------------------------------------------------------------

    def analyze(self, source: MediaFile | int) -> Analysed:
        """Analyse one file now, in this thread, and wait for the answers.

        Raises:
            MediaError: the file cannot be sent. A provider's failure is in the ``error`` of the result.
            BudgetUsedUp: the daily budget for single requests is used up.
        """
        result = self._analyze(source)
        # Reading the bytes revealed that a proxy must be created. That is recorded: try once more.
        is_known_now = isinstance(result.error, (ProxyDamaged, payload.NotHarmless))
        return self._analyze(source) if is_known_now else result

    def _analyze(self, source: MediaFile | int) -> Analysed:
        job = self.begin(source)
        replies: list[CallResult] = []
        give_up = self.abandon
        try:
            if job.calls:
                aws.require_setup()
                budgets.reserve_for_today([(call.row, call.most) for call in job.calls])
                rate_limit.wait_for(self.provider.name, conf().calls_per_second, len(job.calls))
                give_up = self.break_off
                replies = self.carry_out(job)
            return self.finish(job, replies)
        except BaseException:
            give_up(job)
            raise

    # -- Steps -----------------------------------------------------------------------------------

    def begin(self, source: MediaFile | int) -> Job:
        """Choose the file to send, reuse existing answers, and write a row for each call to make.

        The row is a claim: only one process at a time asks the same question about the same bytes.

        Raises:
            MediaError: the file cannot be sent, or its proxy cannot be created.
            AnalysisBusy: another process is making the same call.
        """
        picture = payload.choose_picture(source, self.profile)
        delivery = payload.plan_delivery(picture)
        job = Job(picture.source, picture, delivery)
        known = Analysis.objects.done().filter(file=picture.source, provider=self.provider.name)
        job.was_known = known.exists()
        try:
            for request in self.requests:
                answered = self._answered(picture, request)
                if answered is None:
                    self.provider.check(picture.image, embedded=delivery.place is None)
                    job.calls.append(self._claim(picture, request))
                    # Another process may have received the answer just before the claim.
                    answered = self._answered(picture, request)
                    if answered is None:
                        continue
                    job.calls.pop().row.delete()
                job.reused.append(self._reuse(answered, picture))
            if job.calls:
                payload.announce_copy(picture, delivery)
        except BaseException:
            self.abandon(job)
            raise
        return job

    def reserve(self, job: Job, budget: Decimal | None) -> Grant:
        """Reserve the maximum cost of the calls, from the batch's budget or the daily one."""
        return budgets.reserve([(call.row, call.most) for call in job.calls], budget)

    def carry_out(self, job: Job) -> list[CallResult]:
        """Make the calls of one file in sequence. Runs in a thread: does not use the database.

        Stop after a failure that would affect the next call too; calls not made are missing from the list.
        """
        replies: list[CallResult] = []
        try:
            content = self._content(job)
        except MediaError as error:
            return [CallResult(job.calls[0], error=error)]
        for call in job.calls:
            if replies and self._is_stopping():
                break
            began = time.monotonic()
            result = CallResult(call)
            try:
                result.answer = self.provider.ask(call.request, job.picture.image, content)
            except ObjectMissing as error:
                result.error = _cause(job, error)
            except AnalysisError as error:
                result.error = error
            result.seconds = time.monotonic() - began
            replies.append(result)
            if result.error is not None and (result.error.transient or _stops(result.error)):
                break
        return replies

    def finish(
        self, job: Job, replies: Sequence[CallResult], *, within: Callable[[Analysed], None] | None = None
    ) -> Analysed:
        """Record the answers and their cost, and call ``within``, all in one transaction.

        Raises:
            SourceMissing: the file was deleted meanwhile. Its answers were paid for, and are kept like those
                about other deleted files.
        """
        self._settle_copy(job, replies)
        damage = next((each.error for each in replies if isinstance(each.error, ProxyDamaged)), None)
        made = [] if damage else replies
        if any(isinstance(each.error, payload.NotHarmless) for each in replies):
            payload.distrust(job.picture)
        with transaction.atomic():
            is_there = is_held(job.source)
            if damage and job.picture.proxy:
                mark_damaged(job.picture.proxy, damage)
            for each in made:
                record(job, each, self.provider, is_there=is_there)
            self._drop(job, made)
            result = self._result(job, made) if damage is None else Analysed(Outcome.FAILED, [], damage)
            if is_there and within is not None:
                within(result)
        if not is_there:
            raise deleted(job.source)
        return result

    def abandon(self, job: Job) -> None:
        """Drop the calls that were not made, and release their reservations."""
        with transaction.atomic():
            self._drop(job, [])

    def break_off(self, job: Job) -> None:
        """Mark calls that may have been made and billed as interrupted."""
        with transaction.atomic():
            for call in job.calls:
                inflight.break_off(call.row)

    # -- Internals -------------------------------------------------------------------------------

    def _content(self, job: Job) -> bytes | S3Location:
        if job.delivery.place is None:
            return payload.read(job.picture)
        if job.delivery.is_missing or not payload.copy_is_intact(job.picture, job.delivery):
            payload.put_copy(job.picture)
        elif not job.delivery.is_copy:
            payload.check_stored(job.picture)
        return job.delivery.place

    def _answered(self, picture: Picture, request: Request) -> Analysis | None:
        """Return an existing answer: preferably the file's own, else another file's, even a deleted one's."""
        answers = Analysis.everything.answering(
            sha256=picture.sha256,
            provider=self.provider.name,
            model=request.model,
            request_version=request.request_version,
        )
        if self.force:
            # However often a batch is interrupted, it never repeats its own calls.
            if self.batch_id is None:
                return None
            answers = answers.filter(batch=self.batch_id, file=picture.source)
        own = answers.filter(file=picture.source).order_by("-id").first()
        return own or answers.order_by("-id").first()

    def _reuse(self, answered: Analysis, picture: Picture) -> Analysis:
        """Return the file's own answer unchanged; copy another file's answer to a new row without cost."""
        if answered.file_id == picture.source.pk:
            return answered
        values = {name: getattr(answered, name) for name in ANSWER}
        row = self._row(picture, answered.model, answered.request_version, answered.question)
        for name, value in values.items():
            setattr(row, name, value)
        row.status, row.finished_at, row.reused_from = Analysis.Status.DONE, now(), answered
        row.usage, row.cost = {"images": 0}, Decimal(0)
        row.price_date, row.price_source = answered.price_date, "Reused: no request was sent"
        with transaction.atomic():
            hold(picture.source)
            make_newest(row)
            row.save()
            # Not copied from the reused answer, which has no labels once it is history.
            AnalysisLabel.objects.bulk_create(AnalysisLabel.rows_of(row, Result.of(row.result)))
        return row

    def _row(self, picture: Picture, model: str, version: str, question: str) -> Analysis:
        image = picture.image
        return Analysis(
            file=picture.source,
            provider=self.provider.name,
            model=model,
            request_version=version,
            question=question,
            profile=self.profile,
            sent=Analysis.Sent.PROXY if picture.proxy else Analysis.Sent.ORIGINAL,
            proxy=picture.proxy,
            sha256=picture.sha256,
            bytes=image.bytes,
            width=image.width,
            height=image.height,
            source_fingerprint=picture.source.fingerprint,
            batch_id=self.batch_id,
        )

    def _claim(self, picture: Picture, request: Request) -> Call:
        """Write a call's row before the call.

        Raises:
            AnalysisBusy: a live process is making the same call.
        """
        row = self._row(picture, request.model, request.request_version, request.question)
        row.cost = expected_cost(self.provider, request, picture.image)
        inflight.take(row, calls=len(self.requests))
        return Call(request, row, most_cost(self.provider, request, picture.image))

    def _settle_copy(self, job: Job, replies: Sequence[CallResult]) -> None:
        """Record whether our copy is in the bucket: it was uploaded, or found missing."""
        gone = [each for each in replies if isinstance(each.error, ObjectMissing)]
        if job.delivery.is_copy and gone:
            payload.forget_copy(job.delivery)
            for each in gone:
                each.error = CopyMissing(f"{each.error} The copy is uploaded again on the next attempt.")
        elif job.delivery.is_missing and any(each.answer or _was_sent(each.error) for each in replies):
            payload.remember_copy(job.picture, job.delivery)

    def _drop(self, job: Job, replies: Sequence[CallResult]) -> None:
        """Delete the rows of calls that were not made, and release their reservations."""
        made = {each.call.row.pk for each in replies}
        for call in job.calls:
            if call.row.pk in made:
                continue
            dropped, _ = Analysis.everything.started().filter(pk=call.row.pk).delete()
            if dropped:
                budgets.settle(call.row, None)

    def _result(self, job: Job, replies: Sequence[CallResult]) -> Analysed:
        rows = [*job.reused, *(each.call.row for each in replies)]
        error = next((each.error for each in replies if each.error is not None), None)
        if error is not None:
            return Analysed(Outcome.FAILED, rows, error)
        if not replies:
            return Analysed(Outcome.REUSED, rows)
        outcome = Outcome.REPLACED if job.was_known else Outcome.CREATED
        return Analysed(outcome, rows, is_partial=len(replies) < len(job.calls))


def _cause(job: Job, error: ObjectMissing) -> MediaError:
    """Find out why the service could not read the object. Runs in a thread: does not use the database.

    The services report a missing object, which affects only this file, and missing permissions, which affect
    every file, in the same way. This needs one request, only after such a failure.
    """
    copy = job.delivery.place if job.delivery.is_copy else None
    try:
        if copy is not None:
            s3_copies.stat(copy)
        else:
            job.picture.storage.stat(job.picture.name)
    except SourceMissing:
        return error
    except MediaError as unknown:
        return unknown
    return AccessDenied(f"{error} The object exists, so every other one would be refused as well.")


def _stops(error: MediaError) -> bool:
    return isinstance(error, AnalysisError) and error.stops_batch


def _was_sent(error: MediaError | None) -> bool:
    """Return whether the copy was uploaded before the failure, which then is the provider's."""
    return isinstance(error, ProviderError) and not isinstance(error, ObjectMissing)

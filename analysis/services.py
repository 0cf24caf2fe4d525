"""The one way an analysis comes to be, is reused, and is recorded."""

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
    """Asks one provider about files.

    `analyze` is the whole way. A batch takes its steps one by one, so that many calls are in flight:
    `begin`, `carry_out` (which touches no database and runs in a thread), `finish`, or `abandon`.
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
        """``force`` asks again what was answered before. Once ``is_stopping``, no further call is made.

        Raises:
            UnknownProvider: there is none of that name.
            NotConfigured: the settings do not allow what is wished.
            ValueError: the provider knows no such wish.
        """
        self.provider = get(provider) if isinstance(provider, str) else provider
        self.profile = profile
        self.force = force
        self.batch_id = batch_id
        self._is_stopping = is_stopping
        self.requests: Sequence[Request] = self.provider.requests(options or Options())

    # -- The whole way ---------------------------------------------------------------------------

    def analyze(self, source: MediaFile | int) -> Analysed:
        """Ask about one file now, in this thread, and wait for the answers.

        Raises:
            MediaError: the file cannot be sent. What a provider fails by is in the answer's ``error``.
            BudgetUsedUp: single requests have cost what they may cost in a day.
        """
        result = self._analyze(source)
        # What was found when the bytes were read has been recorded: the second try makes the proxy.
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

    # -- Its steps -------------------------------------------------------------------------------

    def begin(self, source: MediaFile | int) -> Job:
        """Choose what is sent, take over what was answered before, and write a row for each call to come.

        The row is the claim: the same question about the same bytes is asked by one process at a time.

        Raises:
            MediaError: the file cannot be sent, or its proxy not made.
            AnalysisBusy: another process is asking the same.
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
                    # Whoever was asking until now may have been answered before the claim.
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
        """Reserve what the calls can cost at most, from the batch's budget or from the day's."""
        return budgets.reserve([(call.row, call.most) for call in job.calls], budget)

    def carry_out(self, job: Job) -> list[CallResult]:
        """Make the calls of one file, one after the other. Runs in a thread: touches no database.

        After a failure that the next call would meet as well, it ends; what was not asked is not in the list.
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
        """One transaction: the answers, the money, and what ``within`` adds to it.

        Raises:
            SourceMissing: the file was deleted meanwhile. Its answers were paid for, and are kept like those
                of other deleted files.
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
        """Give up the calls that were not made, and what is reserved for them."""
        with transaction.atomic():
            self._drop(job, [])

    def break_off(self, job: Job) -> None:
        """Give up calls that may have been made, and billed."""
        with transaction.atomic():
            for call in job.calls:
                inflight.break_off(call.row)

    # -- Inside ----------------------------------------------------------------------------------

    def _content(self, job: Job) -> bytes | S3Location:
        if job.delivery.place is None:
            return payload.read(job.picture)
        if job.delivery.is_missing or not payload.copy_is_intact(job.picture, job.delivery):
            payload.put_copy(job.picture)
        elif not job.delivery.is_copy:
            payload.check_stored(job.picture)
        return job.delivery.place

    def _answered(self, picture: Picture, request: Request) -> Analysis | None:
        """Return the answer to this question: the file's own before another's, also of a deleted file."""
        answers = Analysis.everything.answering(
            sha256=picture.sha256,
            provider=self.provider.name,
            model=request.model,
            request_version=request.request_version,
        )
        if self.force:
            # What this very batch has asked it does not ask again, however often it is broken off.
            if self.batch_id is None:
                return None
            answers = answers.filter(batch=self.batch_id, file=picture.source)
        own = answers.filter(file=picture.source).order_by("-id").first()
        return own or answers.order_by("-id").first()

    def _reuse(self, answered: Analysis, picture: Picture) -> Analysis:
        """The file's own answer as it is; another file's as a row of this one, which costs nothing."""
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
            # Not those of the answer that is reused: once it is history, it has none.
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
        """Write the row of a call before the call.

        Raises:
            AnalysisBusy: a living process is asking the same.
        """
        row = self._row(picture, request.model, request.request_version, request.question)
        row.cost = expected_cost(self.provider, request, picture.image)
        inflight.take(row, calls=len(self.requests))
        return Call(request, row, most_cost(self.provider, request, picture.image))

    def _settle_copy(self, job: Job, replies: Sequence[CallResult]) -> None:
        """Keep track of our copy in the bucket: it is there now, or it has gone from there."""
        gone = [each for each in replies if isinstance(each.error, ObjectMissing)]
        if job.delivery.is_copy and gone:
            payload.forget_copy(job.delivery)
            for each in gone:
                each.error = CopyMissing(f"{each.error} The copy is uploaded again on the next attempt.")
        elif job.delivery.is_missing and any(each.answer or _was_sent(each.error) for each in replies):
            payload.remember_copy(job.picture, job.delivery)

    def _drop(self, job: Job, replies: Sequence[CallResult]) -> None:
        """Remove the rows of calls that were not made."""
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
    """Look for the object that the service could not read. Runs in a thread: touches no database.

    The services give one answer for an object that is missing, which is this file's fault, and for one that
    they may not read, which every file would meet. One request, made only after such a failure.
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
    """Whether the copy had been put: the failure is the provider's."""
    return isinstance(error, ProviderError) and not isinstance(error, ObjectMissing)

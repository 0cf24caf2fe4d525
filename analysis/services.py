"""The one way an analysis comes to be, is reused, and is recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from django.db import transaction
from django.utils.timezone import now

from analysis import budgets, claims, rates, sending
from analysis.conf import conf
from analysis.errors import AnalysisError, CopyMissing, ObjectMissing, ProviderError
from analysis.estimates import expected_cost
from analysis.models import Analysis, AnalysisLabel
from analysis.providers import aws, get
from analysis.providers.base import Answer, Place, Provider, Request, Wishes
from analysis.sending import Delivery, Picture
from media_files.errors import MediaError, SourceMissing
from media_files.models import MediaFile
from proxies.outcomes import Outcome

# Columns that an answer brings, which a reused one takes over.
_ANSWER: Final = ("result", "raw", "search_text", "model_version", "latency")


@dataclass(slots=True)
class Call:
    """One question that is about to be asked: its row is written already.

    Attributes:
        request: the question.
        row: the record, *started*.
        expected: dollars; None where no price is known.
    """

    request: Request
    row: Analysis
    expected: Decimal | None


@dataclass(slots=True)
class Heard:
    """What became of a call: an answer or an error, and how many seconds it took."""

    call: Call
    answer: Answer | None = None
    error: MediaError | None = None
    seconds: float = 0.0


@dataclass(slots=True)
class Job:
    """One file in hand.

    Attributes:
        source: the original's row.
        picture: what is sent.
        delivery: how.
        calls: what has to be asked.
        reused: what was answered before.
        was_known: whether this file had an answer of the provider already.
        is_set_aside: whether the batch's budget holds what the calls are expected to cost.
    """

    source: MediaFile
    picture: Picture
    delivery: Delivery
    calls: list[Call] = field(default_factory=list)
    reused: list[Analysis] = field(default_factory=list)
    was_known: bool = False
    is_set_aside: bool = False

    @property
    def expected(self) -> Decimal:
        """Dollars that the calls are expected to cost."""
        return sum((call.expected or Decimal(0) for call in self.calls), Decimal(0))


@dataclass(frozen=True, slots=True)
class Analysed:
    """What became of one file.

    Attributes:
        outcome: the contract's word: ``created``, ``replaced``, ``reused`` or ``failed``.
        analyses: the rows, those that were reused among them.
        error: the first that came up.
    """

    outcome: Outcome
    analyses: list[Analysis]
    error: MediaError | None = None


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
        wishes: Wishes | None = None,
        batch_id: int | None = None,
    ) -> None:
        """``force`` asks again what was answered before.

        Raises:
            UnknownProvider: there is none of that name.
            NotConfigured: the settings do not allow what is wished.
            ValueError: the provider knows no such wish.
        """
        self.provider = get(provider) if isinstance(provider, str) else provider
        self.profile = profile
        self.force = force
        self.batch_id = batch_id
        self.requests: Sequence[Request] = self.provider.requests(wishes or Wishes())

    # -- The whole way ---------------------------------------------------------------------------

    def analyze(self, source: MediaFile | int) -> Analysed:
        """Ask about one file now, in this thread, and wait for the answers.

        Raises:
            MediaError: the file cannot be sent. What a provider fails by is in the answer's ``error``.
        """
        job = self.begin(source)
        heard: list[Heard] = []
        try:
            if job.calls:
                aws.require_setup()
                rates.wait_for(self.provider.name, conf().calls_per_second, len(job.calls))
                heard = self.carry_out(job)
            return self.finish(job, heard)
        except BaseException:
            self.abandon(job)
            raise

    # -- Its steps -------------------------------------------------------------------------------

    def begin(self, source: MediaFile | int) -> Job:
        """Choose what is sent, take over what was answered before, and write a row for each call to come.

        The row is the claim: the same question about the same bytes is asked by one process at a time.

        Raises:
            MediaError: the file cannot be sent, or its proxy not made.
            AnalysisBusy: another process is asking the same.
        """
        picture = sending.choose_picture(source, self.profile)
        delivery = sending.plan_delivery(picture)
        job = Job(picture.source, picture, delivery)
        known = Analysis.objects.done().filter(file=picture.source, provider=self.provider.name)
        job.was_known = known.exists()
        try:
            for request in self.requests:
                answered = self._answered(picture, request)
                if answered is not None:
                    job.reused.append(self._reuse(answered, picture))
                    continue
                self.provider.check(picture.image, embedded=delivery.place is None)
                job.calls.append(self._claim(picture, request))
            if job.calls:
                sending.announce_copy(picture, delivery)
        except BaseException:
            self.abandon(job)
            raise
        return job

    def set_aside(self, job: Job, budget: Decimal | None) -> bool:
        """Claim what the calls are expected to cost from the batch's budget; False where it is used up."""
        if self.batch_id is not None:
            job.is_set_aside = budgets.set_aside(self.batch_id, job.expected, budget)
        return job.is_set_aside

    def carry_out(self, job: Job) -> list[Heard]:
        """Make the calls of one file, one after the other. Runs in a thread: touches no database.

        After a failure that the next call would meet as well, it ends; what was not asked is not in the list.
        """
        heard: list[Heard] = []
        try:
            content = self._content(job)
        except MediaError as error:
            return [Heard(job.calls[0], error=error)]
        for call in job.calls:
            began = time.monotonic()
            result = Heard(call)
            try:
                result.answer = self.provider.ask(call.request, job.picture.image, content)
            except AnalysisError as error:
                result.error = error
            result.seconds = time.monotonic() - began
            heard.append(result)
            if result.error is not None and (result.error.transient or _stops(result.error)):
                break
        return heard

    def finish(
        self, job: Job, heard: Sequence[Heard], *, within: Callable[[Analysed], None] | None = None
    ) -> Analysed:
        """One transaction: the answers, the money, and what ``within`` adds to it.

        Raises:
            SourceMissing: the file was deleted meanwhile.
        """
        self._settle_copy(job, heard)
        with transaction.atomic():
            _hold(job.source)
            for each in heard:
                self._record(job, each)
            self._drop(job, heard)
            result = self._result(job, heard)
            if within is not None:
                within(result)
        return result

    def abandon(self, job: Job) -> None:
        """Give up the calls that were not made, and the money set aside for them."""
        with transaction.atomic():
            self._drop(job, [])

    # -- Inside ----------------------------------------------------------------------------------

    def _content(self, job: Job) -> bytes | Place:
        if job.delivery.place is None:
            return sending.read(job.picture)
        if job.delivery.is_missing:
            sending.put_copy(job.picture)
        elif not job.delivery.is_copy:
            sending.check_unchanged(job.picture)
        return job.delivery.place

    def _answered(self, picture: Picture, request: Request) -> Analysis | None:
        """The answer that stands for this question: the file's own before another file's."""
        answers = Analysis.objects.answering(
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
        values = {name: getattr(answered, name) for name in _ANSWER}
        row = self._row(picture, answered.model, answered.request_version, answered.question)
        for name, value in values.items():
            setattr(row, name, value)
        row.status, row.finished_at, row.reused_from = Analysis.Status.DONE, now(), answered
        row.usage, row.cost = {"images": 0}, Decimal(0)
        row.price_date, row.price_source = answered.price_date, "Reused: nothing was asked"
        with transaction.atomic():
            _hold(picture.source)
            self._make_newest(row)
            row.save()
            names = answered.label_rows.values_list("name", "confidence")
            AnalysisLabel.objects.bulk_create(
                AnalysisLabel(analysis=row, name=name, confidence=sure) for name, sure in names
            )
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
        claims.take(row, calls=len(self.requests))
        return Call(request, row, expected_cost(self.provider, request, picture.image))

    def _settle_copy(self, job: Job, heard: Sequence[Heard]) -> None:
        """Keep track of our copy in the bucket: it is there now, or it has gone from there."""
        gone = [each for each in heard if isinstance(each.error, ObjectMissing)]
        if job.delivery.is_copy and gone:
            sending.forget_copy(job.delivery)
            for each in gone:
                each.error = CopyMissing(f"{each.error} The copy is put there anew at the next try.")
        elif job.delivery.is_missing and any(each.answer or _was_sent(each.error) for each in heard):
            sending.remember_copy(job.picture, job.delivery)

    def _record(self, job: Job, heard: Heard) -> None:
        call, row, answer = heard.call, heard.call.row, heard.answer
        row.latency, row.finished_at = round(heard.seconds, 3), now()
        paid = heard.error.paid if isinstance(heard.error, ProviderError) else None
        if answer is not None:
            row.status = Analysis.Status.DONE
            row.result, row.raw = answer.result.as_json(), answer.raw
            row.search_text, row.model_version = answer.result.search_text, answer.model_version
            self._price(job, call, answer.input_tokens, answer.output_tokens)
            self._make_newest(row)
        else:
            row.status = Analysis.Status.FAILED
            row.error = heard.error.code if heard.error else ""
            row.message = str(heard.error)
            if paid is not None:
                row.raw = paid.raw
                self._price(job, call, paid.input_tokens, paid.output_tokens)
        row.save()
        if answer is not None:
            AnalysisLabel.objects.bulk_create(AnalysisLabel.rows_of(row, answer.result))
        if self.batch_id is not None and job.is_set_aside:
            budgets.settle(self.batch_id, call.expected, row.cost)

    def _price(self, job: Job, call: Call, tokens_in: int | None, tokens_out: int | None) -> None:
        usage = self.provider.usage(call.request, job.picture.image, tokens_in, tokens_out)
        price = self.provider.price(call.request, usage)
        row = call.row
        row.usage, row.cost = usage.as_json(), price.amount
        row.price_date, row.price_source = price.day, price.source

    def _make_newest(self, row: Analysis) -> None:
        """What the model said of this file before becomes history."""
        before = Analysis.objects.filter(
            file_id=row.file_id, provider=row.provider, model=row.model, question=row.question
        )
        AnalysisLabel.objects.filter(analysis__in=before.filter(is_newest=True)).delete()
        before.filter(is_newest=True).update(is_newest=False)
        row.is_newest = True

    def _drop(self, job: Job, heard: Sequence[Heard]) -> None:
        """Remove the rows of calls that were not made."""
        made = {each.call.row.pk for each in heard}
        for call in job.calls:
            if call.row.pk in made:
                continue
            dropped, _ = Analysis.objects.filter(pk=call.row.pk, status=Analysis.Status.STARTED).delete()
            if dropped and self.batch_id is not None and job.is_set_aside:
                budgets.settle(self.batch_id, call.expected, None)

    def _result(self, job: Job, heard: Sequence[Heard]) -> Analysed:
        rows = [*job.reused, *(each.call.row for each in heard)]
        error = next((each.error for each in heard if each.error is not None), None)
        if error is not None:
            return Analysed(Outcome.FAILED, rows, error)
        if not heard:
            return Analysed(Outcome.REUSED, rows)
        return Analysed(Outcome.REPLACED if job.was_known else Outcome.CREATED, rows)


def _hold(source: MediaFile) -> None:
    """Keep the file from being deleted until the end of the transaction.

    Raises:
        SourceMissing: it has been.
    """
    if MediaFile.objects.select_for_update(no_key=True).filter(pk=source.pk).first() is None:
        raise SourceMissing(f"File {source.pk} was deleted while it was being analysed.")


def _stops(error: MediaError) -> bool:
    return isinstance(error, AnalysisError) and error.stops_batch


def _was_sent(error: MediaError | None) -> bool:
    """Whether the copy had been put: the failure is the provider's."""
    return isinstance(error, ProviderError) and not isinstance(error, ObjectMissing)

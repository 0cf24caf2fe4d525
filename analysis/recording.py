"""Record the result of a call: the answer, its cost, and which answer is the newest."""

from __future__ import annotations

from typing import Final

from django.utils.timezone import now

from analysis import budgets
from analysis.errors import ProviderError
from analysis.jobs import Call, CallResult, Job
from analysis.models import Analysis, AnalysisLabel
from analysis.providers.base import Provider
from media_files.errors import SourceMissing
from media_files.models import MediaFile

# Columns set by an answer, and copied when it is reused.
ANSWER: Final = ("result", "raw", "search_text", "model_version", "latency")
# Columns set by a call.
_RECORDED: Final = (
    *ANSWER, "status", "usage", "cost", "price_date", "price_source", "error", "message", "is_newest",
    "finished_at",
)  # fmt: skip


def record(job: Job, replies: CallResult, provider: Provider, *, is_there: bool) -> None:
    """Write the result of a call and settle its cost, within the transaction of the file's result.

    Args:
        job: the file's job.
        replies: the call with its answer or error.
        provider: calculates the price.
        is_there: False if the file was deleted meanwhile; a paid answer is kept anyway.
    """
    call, row, answer = replies.call, replies.call.row, replies.answer
    row.latency, row.finished_at, row.cost = round(replies.seconds, 3), now(), None
    paid = replies.error.paid if isinstance(replies.error, ProviderError) else None
    if answer is not None:
        row.status = Analysis.Status.DONE
        row.result, row.raw = answer.result.as_json(), answer.raw
        row.search_text, row.model_version = answer.result.search_text, answer.model_version
        _price(job, call, provider, answer.input_tokens, answer.output_tokens)
        if is_there:
            make_newest(row)
    else:
        row.status = Analysis.Status.FAILED
        row.error = replies.error.code if replies.error else ""
        row.message = str(replies.error)
        if paid is not None:
            row.raw = paid.raw
            _price(job, call, provider, paid.input_tokens, paid.output_tokens)
    if Analysis.everything.started().filter(pk=row.pk).update(status=row.status):
        budgets.settle(row, row.cost)
    else:
        budgets.correct(row, row.cost)
    _save_answer(row, is_there=is_there)
    if answer is not None and is_there:
        AnalysisLabel.objects.bulk_create(AnalysisLabel.rows_of(row, answer.result))


def make_newest(row: Analysis) -> None:
    """Mark the answer as the newest for its model and question; earlier ones become history."""
    before = Analysis.objects.filter(
        file_id=row.file_id, provider=row.provider, model=row.model, question=row.question
    )
    AnalysisLabel.objects.filter(analysis__in=before.filter(is_newest=True)).delete()
    before.filter(is_newest=True).update(is_newest=False)
    row.is_newest = True


def _price(job: Job, call: Call, provider: Provider, tokens_in: int | None, tokens_out: int | None) -> None:
    usage = provider.usage(call.request, job.picture.image, tokens_in, tokens_out)
    price = provider.price(call.request, usage)
    row = call.row
    row.usage, row.cost = usage.as_json(), price.amount
    row.price_date, row.price_source = price.day, price.source


def hold(source: MediaFile) -> None:
    """Lock the file's row until the end of the transaction.

    Raises:
        SourceMissing: the file was deleted.
    """
    if not is_held(source):
        raise deleted(source)


def is_held(source: MediaFile) -> bool:
    """Lock the file's row until the end of the transaction; return False if the file was deleted."""
    return MediaFile.objects.select_for_update(no_key=True).filter(pk=source.pk).first() is not None


def deleted(source: MediaFile) -> SourceMissing:
    return SourceMissing(f"File {source.pk} was deleted while it was being analysed.")


def _save_answer(row: Analysis, *, is_there: bool) -> None:
    """Write only the columns set by a call: the file or the proxy may have been deleted.

    A row deleted meanwhile is inserted again because it was paid for, unless the file was deleted too.
    """
    values = {name: getattr(row, name) for name in _RECORDED}
    if not Analysis.everything.filter(pk=row.pk).update(**values) and is_there:
        row.save(force_insert=True)

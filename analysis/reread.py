"""Parse the stored raw answers again without a call, so that a better parser does not cost new calls."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.db import transaction

from analysis.errors import MalformedOutput, ProviderError
from analysis.models import Analysis, AnalysisLabel
from analysis.providers import get
from analysis.providers.aws import UNPARSED
from analysis.results import Result, kept
from proxies.outcomes import Outcome

_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Reread:
    """The actual or previewed outcome for one stored answer.

    Attributes:
        row: the answer.
        outcome: ``replaced`` if its result changed, ``created`` if it failed before and can be parsed now,
            ``reused`` if nothing changed, ``failed`` if it still cannot be parsed.
        error: error code if it failed.
        message: error message if it failed.
    """

    row: Analysis
    outcome: Outcome
    error: str = ""
    message: str = ""

    def as_json(self) -> dict[str, Any]:
        file = self.row.original
        return {
            "id": file.pk,
            "original_name": file.original_name,
            "sha256": file.sha256 or None,
            "outcome": self.outcome.value,
            "error": self.error,
            "message": self.message,
            "attempts": 0,
            "provider": self.row.provider,
            "cost": "0.000000",
            "analyses": [{"id": self.row.pk, "model": self.row.model, "result": self.row.result}],
        }


@dataclass(slots=True)
class Totals:
    """The totals of a run. Nothing is billed or sent."""

    outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, reread: Reread) -> None:
        self.outcomes[reread.outcome] += 1

    def as_json(self) -> dict[str, Any]:
        return {
            **{outcome.value: self.outcomes[outcome] for outcome in Outcome},
            "cost": "0.000000",
            "bytes_sent": 0,
        }


def reread(provider: str, *, apply: bool, limit: int | None = None) -> Iterator[Reread]:
    """Parse a provider's stored answers again, a page at a time in the order of their ids.

    With ``apply``, update results, labels and search text; otherwise write nothing. If a run is interrupted,
    what it has done is kept, and the next run finds that part unchanged. ``limit`` is the maximum number of
    changed answers.
    """
    last, changed = 0, 0
    while page := _page(provider, last):
        for row in page:
            found = _reread(row, apply=apply)
            yield found
            changed += found.outcome in (Outcome.CREATED, Outcome.REPLACED)
            if limit is not None and changed >= limit:
                return
        last = page[-1].pk


def _page(provider: str, last: int) -> list[Analysis]:
    answered = Analysis.objects.filter(
        provider=provider, pk__gt=last, status__in=(Analysis.Status.DONE, Analysis.Status.FAILED)
    ).exclude(raw={})
    return list(answered.select_related("file").order_by("pk")[:_PAGE])


def _reread(row: Analysis, *, apply: bool) -> Reread:
    was_done = row.status == Analysis.Status.DONE
    try:
        raw = _parsed(row.raw)
        result = get(row.provider).read(raw, model=row.model, question=row.question)
    except ProviderError as error:
        # Keep the earlier result.
        outcome = Outcome.REUSED if was_done else Outcome.FAILED
        return Reread(row, outcome, error.code, str(error))
    if was_done and Result.of(row.result) == result:
        return Reread(row, Outcome.REUSED)
    row.result = result.as_json()
    if apply and not _write(row, result, raw):
        return Reread(row, Outcome.REUSED)  # deleted meanwhile
    return Reread(row, Outcome.REPLACED if was_done else Outcome.CREATED)


def _parsed(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the answer; if its body could not be parsed as JSON, try again.

    Raises:
        MalformedOutput: it still cannot be parsed.
    """
    if raw.keys() != {UNPARSED}:
        return raw
    try:
        parsed = kept(json.loads(raw[UNPARSED]))
    except (TypeError, ValueError, RecursionError) as error:
        raise MalformedOutput(f"The answer is no JSON: {error}.") from error
    if not isinstance(parsed, dict):
        raise MalformedOutput("The answer is no object.")
    return parsed


@transaction.atomic
def _write(row: Analysis, result: Result, raw: Mapping[str, Any]) -> bool:
    """Save the new result; return False if the row was deleted."""
    if Analysis.objects.select_for_update().filter(pk=row.pk).first() is None:
        return False
    row.status, row.error, row.message = Analysis.Status.DONE, "", ""
    row.raw, row.search_text = dict(raw), result.search_text
    _place_in_history(row)
    row.save(update_fields=["status", "error", "message", "result", "raw", "search_text", "is_newest"])
    AnalysisLabel.objects.filter(analysis=row).delete()
    if row.is_newest:
        AnalysisLabel.objects.bulk_create(AnalysisLabel.rows_of(row, result))
    return True


def _place_in_history(row: Analysis) -> None:
    """Mark an answer as the newest unless there is a later one to the same question."""
    same = Analysis.objects.done().filter(
        file_id=row.file_id, provider=row.provider, model=row.model, question=row.question
    )
    row.is_newest = not same.filter(pk__gt=row.pk).exists()
    if row.is_newest:
        before = same.filter(is_newest=True).exclude(pk=row.pk)
        AnalysisLabel.objects.filter(analysis__in=before).delete()
        before.update(is_newest=False)

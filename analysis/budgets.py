"""Budgets: the most that a call can cost is reserved before it, and replaced by its cost afterwards.

A batch has a budget of its own; single requests share one for each day (UTC). A reservation is one
conditional UPDATE, so that all processes together stay within a budget. The most an answer can cost is many
times what it usually costs, so the last of a budget goes to one call at a time: that one may exceed it. A
call whose process was killed is counted at its expected cost, since it may have been billed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, auto
from typing import Any, Final

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils.timezone import now

from analysis import prices
from analysis.conf import conf
from analysis.errors import AnalysisBusy, BudgetUsedUp, NotConfigured
from analysis.models import Analysis, DaySpending, Spending
from media_files.models import MediaFile

# The code of a batch that paused because its budget is used up.
USED_UP: Final = "budget"


class Grant(Enum):
    """The answer to a reservation."""

    GRANTED = auto()
    WAIT = auto()  # calls in flight hold what is left, and may need less
    USED_UP = auto()


def reserve(calls: Sequence[tuple[Analysis, Decimal | None]], budget: Decimal | None) -> Grant:
    """Reserve the most that these calls can cost.

    Args:
        calls: started calls of one batch, or of one single request, each with the most it can cost in US
            dollars, None where no price is known. ``cost`` of the row is what it is expected to cost.
        budget: US dollars; None for no limit.
    """
    amounts = [(row, prices.nano(most)) for row, most in calls]
    expected = sum(prices.nano(row.cost) for row, _ in amounts)
    with transaction.atomic():
        account = _account(amounts[0][0])
        grant = _take(account, sum(most for _, most in amounts), expected, budget)
        if grant is Grant.GRANTED:
            for row, most in amounts:
                row.reserved = most
                Analysis.everything.filter(pk=row.pk).update(reserved=most)
    return grant


def reserve_for_today(calls: Sequence[tuple[Analysis, Decimal | None]]) -> None:
    """Reserve the most that the calls of a single request can cost from the day's budget.

    Raises:
        BudgetUsedUp: the day's budget is used up.
        AnalysisBusy: requests in flight hold what is left of it.
        NotConfigured: there is a budget, and no price.
    """
    budget = conf().daily_budget
    if budget is not None and any(most is None for _, most in calls):
        raise NotConfigured(
            "A daily budget cannot be kept without a price. Add the model's to prices.toml, or set "
            "NOVAPROXY_ANALYSIS_DAILY_BUDGET to 0."
        )
    grant = reserve(calls, budget)
    if grant is Grant.WAIT:
        raise AnalysisBusy("Requests in flight may use up today's budget. Ask again once they are answered.")
    if grant is Grant.USED_UP:
        raise BudgetUsedUp(
            f"Single requests have cost ${spent_on(today()):.4f} today, of a budget of ${budget}. Ask again "
            "tomorrow (UTC), or raise NOVAPROXY_ANALYSIS_DAILY_BUDGET."
        )


def settle_deleted(file: MediaFile) -> None:
    """Count the calls in flight for a file that is about to be deleted, rows and all."""
    for row in Analysis.everything.started().filter(file=file, reserved__gt=0).defer("raw", "result"):
        settle(row, row.cost)


def settle(row: Analysis, cost: Decimal | None) -> None:
    """Replace what was reserved for a call by what it cost.

    To be called once, in the transaction in which the row ceases to say *started*.
    """
    if row.reserved or cost:
        _account(row).update(
            nano_reserved=F("nano_reserved") - row.reserved,
            nano_dollars=F("nano_dollars") + prices.nano(cost),
        )


def correct(row: Analysis, cost: Decimal | None) -> None:
    """Replace what a call was expected to cost by its cost: its answer came after it was broken off."""
    broken_off = Analysis.everything.filter(pk=row.pk, error="broken_off", cost__isnull=False)
    expected = broken_off.values_list("cost", flat=True).first()
    if expected is not None:
        change = prices.nano(cost) - prices.nano(expected)
        _account(row).update(nano_dollars=F("nano_dollars") + change)


def spent(batch_id: int) -> Decimal:
    """US dollars that a batch's answers have cost."""
    return spent_by([batch_id]).get(batch_id, Decimal(0))


def spent_by(batch_ids: Sequence[int]) -> dict[int, Decimal]:
    """The same of several batches; those that made no call are left out."""
    rows = Spending.objects.filter(batch__in=batch_ids).values_list("batch", "nano_dollars")
    return {batch: prices.dollars(nano) for batch, nano in rows}


def spent_on(day: date) -> Decimal:
    """US dollars that the single requests of a day (UTC) have cost."""
    nano = DaySpending.objects.filter(day=day).values_list("nano_dollars", flat=True).first()
    return prices.dollars(nano or 0)


def today() -> date:
    """The day that a request of this moment counts for."""
    return _day(now())


def _day(moment: datetime) -> date:
    return moment.astimezone(UTC).date()


def _account(row: Analysis) -> QuerySet[Any]:
    """What a call is paid from, as a query of one row, which is made where it is missing."""
    rows: QuerySet[Any]
    if row.batch_id is not None:
        rows = Spending.objects.filter(batch=row.batch_id)
        if not rows.exists():
            Spending.objects.get_or_create(batch_id=row.batch_id)
        return rows
    day = _day(row.created_at)
    rows = DaySpending.objects.filter(day=day)
    if not rows.exists():
        DaySpending.objects.get_or_create(day=day)
    return rows


def _take(account: QuerySet[Any], most: int, expected: int, budget: Decimal | None) -> Grant:
    rows = account
    if budget is not None:
        limit = prices.nano(budget)
        holds_the_most = Q(nano_dollars__lte=limit - most - F("nano_reserved"))
        is_alone_and_expected_to_fit = Q(nano_reserved=0, nano_dollars__lte=limit - expected)
        rows = account.filter(holds_the_most | is_alone_and_expected_to_fit)
    if rows.update(nano_reserved=F("nano_reserved") + most):
        return Grant.GRANTED
    # Of the same moment or later: a reservation that was settled in between is worth another look.
    still_reserved, left = account.values_list("nano_reserved", "nano_dollars").get()
    is_worth_waiting = still_reserved or (budget is not None and left <= prices.nano(budget) - expected)
    return Grant.WAIT if is_worth_waiting else Grant.USED_UP

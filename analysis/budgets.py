"""Budgets: reserve the maximum cost of a call beforehand, and replace it with the actual cost afterwards.

Each batch has its own budget; single requests share a daily one (UTC). A reservation is one conditional
UPDATE, so all processes together stay within the budget. The maximum cost of an answer is many times the
usual cost, so the rest of a budget is given to one call at a time, and that call may exceed it. A call whose
process was killed is counted at its expected cost, since it may have been billed.
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

# Pause code of a batch whose budget is used up.
USED_UP: Final = "budget"


class Grant(Enum):
    """The result of a reservation."""

    GRANTED = auto()
    WAIT = auto()  # calls in flight have reserved the rest, and may cost less
    USED_UP = auto()


def reserve(calls: Sequence[tuple[Analysis, Decimal | None]], budget: Decimal | None) -> Grant:
    """Reserve the maximum cost of these calls.

    Args:
        calls: started calls of one batch or one single request, each with its maximum cost in US dollars
            (None if the price is unknown). The row's ``cost`` is the expected cost.
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
    """Reserve the maximum cost of a single request's calls from the daily budget.

    Raises:
        BudgetUsedUp: the daily budget is used up.
        AnalysisBusy: requests in flight have reserved the rest of it.
        NotConfigured: there is a budget but no price.
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
    """Count the calls in flight for a file that is about to be deleted with its analyses."""
    for row in Analysis.everything.started().filter(file=file, reserved__gt=0).defer("raw", "result"):
        settle(row, row.cost)


def settle(row: Analysis, cost: Decimal | None) -> None:
    """Replace a call's reservation with its actual cost.

    Call this once, in the transaction that ends the row's *started* status.
    """
    if row.reserved or cost:
        _account(row).update(
            nano_reserved=F("nano_reserved") - row.reserved,
            nano_dollars=F("nano_dollars") + prices.nano(cost),
        )


def correct(row: Analysis, cost: Decimal | None) -> None:
    """Replace the expected with the actual cost of a call whose answer arrived after it was interrupted."""
    broken_off = Analysis.everything.filter(pk=row.pk, error="broken_off", cost__isnull=False)
    expected = broken_off.values_list("cost", flat=True).first()
    if expected is not None:
        change = prices.nano(cost) - prices.nano(expected)
        _account(row).update(nano_dollars=F("nano_dollars") + change)


def spent(batch_id: int) -> Decimal:
    """Return what a batch's answers have cost, in US dollars."""
    return spent_by([batch_id]).get(batch_id, Decimal(0))


def spent_by(batch_ids: Sequence[int]) -> dict[int, Decimal]:
    """Return the same for several batches; those without calls are left out."""
    rows = Spending.objects.filter(batch__in=batch_ids).values_list("batch", "nano_dollars")
    return {batch: prices.dollars(nano) for batch, nano in rows}


def spent_on(day: date) -> Decimal:
    """Return what a day's (UTC) single requests have cost, in US dollars."""
    nano = DaySpending.objects.filter(day=day).values_list("nano_dollars", flat=True).first()
    return prices.dollars(nano or 0)


def today() -> date:
    """Return the day (UTC) to whose budget a request made now belongs."""
    return _day(now())


def _day(moment: datetime) -> date:
    return moment.astimezone(UTC).date()


def _account(row: Analysis) -> QuerySet[Any]:
    """Return the account of a call as a one-row queryset; create the row if it is missing."""
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
    # Read after the UPDATE: a reservation settled in between makes another try worthwhile.
    still_reserved, left = account.values_list("nano_reserved", "nano_dollars").get()
    is_worth_waiting = still_reserved or (budget is not None and left <= prices.nano(budget) - expected)
    return Grant.WAIT if is_worth_waiting else Grant.USED_UP

"""A batch's budget: what a call is expected to cost is set aside before it, and settled after it.

Setting aside is one conditional UPDATE, so that workers together never begin calls beyond the budget. What
was set aside by a process that was killed stays spent: its calls may have been paid for.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from django.db.models import F

from analysis import prices
from analysis.models import Spending

# What a batch says that paused for it.
USED_UP: Final = "budget"


def set_aside(batch_id: int, amount: Decimal | None, budget: Decimal | None) -> bool:
    """Claim ``amount`` dollars of the budget; False where that would exceed it."""
    wanted = prices.nano(amount)
    row = Spending.objects.filter(batch=batch_id)
    if not row.exists():
        Spending.objects.get_or_create(batch_id=batch_id)
    if budget is not None:
        row = row.filter(nano_dollars__lte=prices.nano(budget) - wanted)
    return bool(row.update(nano_dollars=F("nano_dollars") + wanted))


def settle(batch_id: int, expected: Decimal | None, actual: Decimal | None) -> None:
    """Replace what was set aside by what it was."""
    change = prices.nano(actual) - prices.nano(expected)
    if change:
        Spending.objects.filter(batch=batch_id).update(nano_dollars=F("nano_dollars") + change)


def spent(batch_id: int) -> Decimal:
    """Dollars spent and set aside."""
    nano = Spending.objects.filter(batch=batch_id).values_list("nano_dollars", flat=True).first()
    return prices.dollars(nano or 0)

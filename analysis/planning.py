"""Preview analyses: the number of files, calls and bytes, and the cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from django.db.models import Avg, Count, Q, QuerySet, Sum
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from analysis import prices
from analysis.errors import NotConfigured
from analysis.estimates import expected_cost, most_cost
from analysis.options import Run
from analysis.providers.base import Image, Request
from analysis.queries import is_answered, sent_bytes, with_outcome
from media_files import localised
from proxies.batches.plan import Plan
from proxies.batches.selection import Selection
from proxies.models import Proxy
from proxies.outcomes import NEEDS_WORK

if TYPE_CHECKING:
    from django_stubs_ext import StrPromise

# Assumed size of a proxy while there are none to measure.
_USUAL = Image("JPEG", 1344, 896, 250_000)


@dataclass(slots=True)
class AnalysisPlan(Plan):
    """The totals for a selection.

    Attributes:
        calls: number of billed calls.
        calls_saved: questions already answered, for this file or another with the same bytes.
        to_be_made: files that need a proxy first.
        bytes_sent: bytes of existing files, plus an estimate for missing proxies.
        cost: expected US dollars; None if a price is unknown.
        most_cost: the same if every answer had the maximum length.
        budget: US dollars; None for no limit.
        missing: settings that must be fixed before any call.
    """

    calls: int = 0
    calls_saved: int = 0
    to_be_made: int = 0
    bytes_sent: int = 0
    cost: Decimal | None = None
    most_cost: Decimal | None = None
    budget: Decimal | None = None
    price: prices.Price | None = None
    missing: list[str] = field(default_factory=list)

    @property
    def cost_text(self) -> str:
        return money(self.cost)

    @property
    def most_cost_text(self) -> str:
        return money(self.most_cost)

    NOTE: ClassVar[StrPromise] = _(
        "Nova 2 Lite bills 230 tokens an image, whatever its size: proxies save bytes, time and refusals, "
        "not token cost."
    )

    def as_json(self) -> dict[str, Any]:
        """Return the plan's relevant keys and the cost."""
        return {
            **{str(outcome): count for outcome, count in sorted(self.outcomes.items())},
            "total": self.total,
            "bytes_originals": self.bytes_originals,
            "calls": self.calls,
            "calls_saved": self.calls_saved,
            "proxies_to_make": self.to_be_made,
            "bytes_to_send": self.bytes_sent,
            "cost": _text(self.cost),
            "cost_at_most": _text(self.most_cost),
            "budget": _text(self.budget),
            "price_date": self.price.day.isoformat() if self.price else None,
            "price_source": self.price.source if self.price else "",
            "missing": self.missing,
        }


def plan_analyses(selection: Selection, run: Run, missing: Sequence[str]) -> AnalysisPlan:
    """Return the totals for a selection, without sending, opening or writing anything.

    ``missing`` lists the settings that must be fixed before any call.
    """
    plan = AnalysisPlan(budget=run.budget, missing=list(missing))
    requests = run.possible_requests
    try:
        run.require_price()
    except NotConfigured as error:
        plan.missing.append(str(error))
    calls = [0] * len(requests)
    for page in selection.pages():
        files = with_outcome(page, run.provider.name, requests, run.profile, force=run.force)
        _add_page(plan, calls, files, run)
    plan.calls = sum(calls)
    _add_cost(plan, calls, run)
    return plan


def _add_page(plan: AnalysisPlan, calls: list[int], files: QuerySet[Any], run: Run) -> None:
    to_do = Q(outcome__in=[outcome.value for outcome in NEEDS_WORK])
    rows = (
        files.annotate(sent_bytes=sent_bytes(run.profile))
        .order_by()
        .values("outcome")
        .annotate(
            files=Count("pk"),
            unknown=Count("pk", filter=to_do & Q(width=None)),
            unmade=Count("pk", filter=to_do & Q(sent_sha256=None)),
            originals=Sum("bytes"),
            sent=Sum("sent_bytes", filter=to_do),
        )
    )
    for row in rows:
        plan.outcomes[row["outcome"]] += row["files"]
        plan.unknown_facts += row["unknown"]
        plan.bytes_originals += row["originals"] or 0
        plan.to_be_made += row["unmade"]
        plan.bytes_sent += row["sent"] or 0
    work = files.filter(to_do)
    count = work.count()
    for number, request in enumerate(run.possible_requests):
        asked = count if run.force else _asked(work, run.provider.name, request)
        calls[number] += asked
        plan.calls_saved += count - asked


def _asked(work: QuerySet[Any], provider: str, request: Request) -> int:
    """Return the number of questions without an answer; files with the same bytes share one."""
    unanswered = work.exclude(is_answered(provider, request, of_this_file=False))
    found = unanswered.aggregate(
        different=Count("sent_sha256", distinct=True), unmade=Count("pk", filter=Q(sent_sha256=None))
    )
    return int(found["different"] + found["unmade"])


def _add_cost(plan: AnalysisPlan, calls: list[int], run: Run) -> None:
    image = _usual_image(run)
    plan.bytes_sent += plan.to_be_made * image.bytes
    if not calls:
        return
    costs, most = [], []
    for number, request in zip(calls, run.requests, strict=True):
        one, longest = expected_cost(run.provider, request, image), most_cost(run.provider, request, image)
        costs.append(None if one is None else one * number)
        most.append(None if longest is None else longest * number)
    usage = run.provider.expected(run.requests[0], image, answer_tokens=None)
    plan.price = run.provider.price(run.requests[0], usage)
    plan.cost, plan.most_cost = _sum(costs), _sum(most)


def _usual_image(run: Run) -> Image:
    """Return the mean size of the profile's newest proxies."""
    newest = Proxy.objects.current(run.profile).order_by("-id").values("pk")[:200]
    mean = Proxy.objects.filter(pk__in=newest).aggregate(w=Avg("width"), h=Avg("height"), b=Avg("bytes"))
    if mean["b"] is None:
        return _USUAL
    return Image("JPEG", round(mean["w"]), round(mean["h"]), round(mean["b"]))


def _sum(amounts: list[Decimal | None]) -> Decimal | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known, Decimal(0)) if len(known) == len(amounts) else None


def money(amount: Decimal | None) -> str:
    """Format US dollars with a useful number of digits: ``$26.40``, ``$0.0031``."""
    if amount is None:
        return gettext("unknown")
    decimals = 2 if amount >= 1 or not amount else 4
    return gettext("$%(amount)s") % {"amount": localised.number(amount, decimals)}


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:.4f}"

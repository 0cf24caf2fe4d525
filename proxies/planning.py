"""The plan of image proxies: sums by SQL, and a forecast learned from the proxies that are there."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

from django.db.models import Count, FloatField, Q, QuerySet, Sum, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Coalesce, Greatest, Least

from proxies.batches.plan import Forecast, Plan
from proxies.batches.selection import Selection
from proxies.models import Proxy
from proxies.outcomes import NEEDS_WORK, Outcome
from proxies.profiles import ProxyProfile
from proxies.queries import FACTS_UNKNOWN, reason_conditions, with_outcome

SAMPLE: Final = 1000
# The two-sided 90 % point of the normal distribution.
_Z90: Final = 1.645


def plan_image_proxies(selection: Selection, profile: ProxyProfile, *, force: bool = False) -> Plan:
    """The sums over a selection, one query a page; no file is opened, nothing is written."""
    plan = Plan()
    work = _WorkSums()
    for page in selection.pages():
        _add_outcomes(plan, work, with_outcome(page, profile, force=force), profile)
    plan.forecast = forecast(work, profile)
    return plan


class _WorkSums:
    """What the forecast needs to know of the files to be made: sums over target pixels.

    ``pixels``: of all proxies to be made; ``weighted``: the same times the original's bytes a pixel;
    ``squares``: the sum of the squares of pixels.
    """

    def __init__(self) -> None:
        self.files = 0
        self.pixels = self.weighted = self.squares = 0.0


def _add_outcomes(plan: Plan, work: _WorkSums, files: QuerySet[Any], profile: ProxyProfile) -> None:
    to_do = Q(outcome__in=[outcome.value for outcome in NEEDS_WORK])
    pixels = _target_pixels(profile)
    reasons = {
        f"reason_{reason}": Count("pk", filter=to_do & ~FACTS_UNKNOWN & condition)
        for reason, condition in reason_conditions(profile).items()
    }
    stands = Q(proxies__profile=profile.name)
    # One proxy for a file and profile at the most: the join adds no rows.
    rows = (
        files.order_by()
        .values("outcome")
        .annotate(
            files=Count("pk"),
            unknown=Count("pk", filter=to_do & FACTS_UNKNOWN),
            all_bytes=Coalesce(Sum("bytes"), 0),
            pixels=Sum(pixels, filter=to_do),
            weighted=Sum(pixels * _bytes_per_pixel(), filter=to_do),
            squares=Sum(pixels * pixels, filter=to_do),
            **reasons,
        )
    )
    for row in rows:
        _add_row(plan, work, row)
    standing = (
        files.filter(stands)
        .order_by()
        .values("outcome")
        .annotate(sum=Sum("proxies__bytes", filter=stands))
        .values_list("outcome", "sum")
    )
    for outcome, sum_ in standing:
        if outcome == Outcome.REUSED:
            plan.bytes_kept += sum_ or 0
        elif outcome == Outcome.REPLACED:
            plan.bytes_replaced += sum_ or 0


def _add_row(plan: Plan, work: _WorkSums, row: dict[str, Any]) -> None:
    outcome = row["outcome"]
    plan.outcomes[outcome] += row["files"]
    plan.unknown_facts += row["unknown"]
    plan.bytes_originals += row["all_bytes"]
    if outcome in NEEDS_WORK or outcome == Outcome.REUSED:
        plan.bytes_to_send += row["all_bytes"]
    if outcome in NEEDS_WORK:
        work.files += row["files"]
        work.pixels += row["pixels"] or 0
        work.weighted += row["weighted"] or 0
        work.squares += row["squares"] or 0
        for name, count in row.items():
            if name.startswith("reason_") and count:
                plan.reasons[name.removeprefix("reason_")] += count


def _target_pixels(profile: ProxyProfile) -> Combinable:
    """How many pixels the proxy will have: the original's, scaled down under both caps."""
    width, height = Cast("width", FloatField()), Cast("height", FloatField())
    scales: list[Combinable] = [Value(1.0), Value(float(profile.longest_side)) / Greatest(width, height)]
    if profile.shorter_side is not None:
        scales.append(Value(float(profile.shorter_side)) / Least(width, height))
    scale = Least(*scales)
    return width * height * scale * scale


def _bytes_per_pixel() -> Combinable:
    return Cast("bytes", FloatField()) / (Cast("width", FloatField()) * Cast("height", FloatField()))


def forecast(work: _WorkSums, profile: ProxyProfile) -> Forecast:
    """The bytes of the proxies to be made: a line through what the sample's proxies took a pixel, against
    what their originals did. Unknown where there are too few to tell."""
    sample = _sample(profile)
    if work.files == 0:
        return Forecast(len(sample), 0, 0, 0)
    if len(sample) < 3 or not work.pixels:
        return Forecast(len(sample))
    intercept, slope, spread, error_of_mean = _fit(sample)
    expected = intercept * work.pixels + slope * work.weighted
    # Each file strays by its own, and all stray together by what the sample's mean is off.
    stray = math.sqrt(spread**2 * work.squares + error_of_mean**2 * work.pixels**2)
    margin = _Z90 * stray
    return Forecast(
        len(sample), round(max(0.0, expected)), round(max(0.0, expected - margin)), round(expected + margin)
    )


def _sample(profile: ProxyProfile) -> list[tuple[float, float]]:
    """(original's bytes a pixel, proxy's bytes a pixel) of the newest current proxies."""
    rows = (
        Proxy.objects.current(profile)
        .filter(source__width__gt=0, width__gt=0, source__bytes__gt=0)
        .order_by("-id")
        .values_list("source__bytes", "source__width", "source__height", "bytes", "width", "height")
    )
    newest: Iterable[tuple[Any, ...]] = rows[:SAMPLE]
    return [(size / (w * h), proxy / (pw * ph)) for size, w, h, proxy, pw, ph in newest]


def _fit(sample: list[tuple[float, float]]) -> tuple[float, float, float, float]:
    """Least squares: intercept, slope, the residuals' deviation, and the error of their mean."""
    count = len(sample)
    mean_x = sum(x for x, _ in sample) / count
    mean_y = sum(y for _, y in sample) / count
    square = sum((x - mean_x) ** 2 for x, _ in sample)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in sample) / square if square else 0.0
    intercept = mean_y - slope * mean_x
    residuals = sum((y - intercept - slope * x) ** 2 for x, y in sample)
    spread = math.sqrt(residuals / max(1, count - 2))
    return intercept, slope, spread, spread / math.sqrt(count)

"""Plan image proxies: totals by SQL over pages of rows, and a size forecast for the proxies to be made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from django.db.models import (
    BooleanField,
    Case,
    CharField,
    Count,
    ExpressionWrapper,
    F,
    FloatField,
    Q,
    QuerySet,
    Sum,
    Value,
    When,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Coalesce, Greatest, Least

from proxies.batches.plan import Plan
from proxies.batches.selection import Selection
from proxies.models import Proxy
from proxies.outcomes import NEEDS_WORK, Outcome
from proxies.queries import (
    FACTS_UNKNOWN,
    has_current_proxy,
    outcome_is_a_guess,
    reason_conditions,
    with_outcome,
)
from proxies.rendering.profiles import ProxyProfile
from proxies.rendering.size_forecast import Example, Forecast, Kind, Target, forecast

SAMPLE: Final = 1000
_ALPHA_MODES: Final = ("RGBA", "LA", "PA", "RGBa", "La")
_LOSSY_FORMATS: Final = ("JPEG", "WEBP", "HEIF", "AVIF", "JPEG2000")


def plan_image_proxies(
    selection: Selection, profile: ProxyProfile, *, force: bool = False, retry_failed: bool = False
) -> Plan:
    """Return the totals over a selection, with two queries per page; opens no file and writes nothing."""
    plan, known = Plan(), 0
    targets = {kind: Target() for kind in Kind}
    for page in selection.pages():
        files = with_outcome(page, profile, force=force, retry_failed=retry_failed)
        for row in _sums(files, profile, force=force):
            _add_row(plan, targets, row)
        known += _add_standing(plan, files, profile)
    plan.forecast = _with_known(forecast(targets, _sample(profile)), known)
    return plan


def _with_known(of_the_rest: Forecast, known: int) -> Forecast:
    """Return the forecast for all proxies to be made, including those whose bytes are known."""
    expected, low, high = of_the_rest.bytes, of_the_rest.low, of_the_rest.high
    if expected is None or low is None or high is None:
        return of_the_rest
    return replace(of_the_rest, bytes=expected + known, low=low + known, high=high + known)


def _sums(files: QuerySet[Any], profile: ProxyProfile, *, force: bool) -> Iterable[dict[str, Any]]:
    """Return a row for each outcome, kind of original, and whether its proxy's bytes are known.

    The outcome is a group and not in any condition of the sums, because each mention is computed again for
    each row.
    """
    pixels = _target_pixels(profile)
    # Without force, an up-to-date proxy is reused, so no lookup is needed.
    is_known = has_current_proxy(profile) if force else Value(False)
    reasons = {
        f"reason_{reason}": Count("pk", filter=~FACTS_UNKNOWN & condition)
        for reason, condition in reason_conditions(profile).items()
    }
    rows: Iterable[dict[str, Any]] = (
        files.order_by()
        .annotate(kind=_kind_of(""), is_known=is_known)
        .values("outcome", "kind", "is_known")
        .annotate(
            files=Count("pk"),
            unknown=Count("pk", filter=outcome_is_a_guess(profile)),
            all_bytes=Coalesce(Sum("bytes"), 0),
            pixels=Sum(pixels),
            squares=Sum(pixels * pixels),
            weighted=Sum(pixels * _bytes_per_pixel()),
            **reasons,
        )
    )
    return rows


def _add_row(plan: Plan, targets: dict[Kind, Target], row: dict[str, Any]) -> None:
    outcome = row["outcome"]
    plan.outcomes[outcome] += row["files"]
    plan.bytes_originals += row["all_bytes"]
    if outcome == Outcome.REUSED:
        plan.bytes_to_send += row["all_bytes"]
    if outcome not in NEEDS_WORK:
        return
    plan.unknown_facts += row["unknown"]
    plan.bytes_to_send += row["all_bytes"]
    for name, count in row.items():
        if name.startswith("reason_") and count:
            plan.reasons[name.removeprefix("reason_")] += count
    if row["is_known"]:
        return
    target = targets[Kind(row["kind"])]
    target.pixels += row["pixels"] or 0
    target.squares += row["squares"] or 0
    target.weighted += row["weighted"] or 0


def _add_standing(plan: Plan, files: QuerySet[Any], profile: ProxyProfile) -> int:
    """Add the bytes of the existing proxies: kept, or to be replaced.

    Returns:
        Of those to be replaced, the bytes of the ones that will come out identical: made again by force, from
        the same original and by the same recipe.
    """
    # At most one proxy per file and profile: the join adds no rows.
    stands = Q(proxies__profile=profile.name)
    same = stands & Q(proxies__recipe=profile.recipe, proxies__source_fingerprint=F("fingerprint"))
    rows = (
        files.filter(stands)
        .order_by()
        .values("outcome")
        .annotate(all=Sum("proxies__bytes", filter=stands), same=Sum("proxies__bytes", filter=same))
    )
    known = 0
    for row in rows:
        if row["outcome"] == Outcome.REUSED:
            plan.bytes_kept += row["all"] or 0
        elif row["outcome"] == Outcome.REPLACED:
            plan.bytes_replaced += row["all"] or 0
            known += row["same"] or 0
    return known


def _sample(profile: ProxyProfile) -> dict[Kind, list[Example]]:
    """Return the up-to-date ones among the newest proxies, by kind."""
    # A column, not a condition: PostgreSQL would assume that few proxies match, and read all of them.
    fits = Q(source_fingerprint=F("source__fingerprint")) & Q(
        source__width__gt=0, width__gt=0, source__bytes__gt=0
    )
    rows = (
        Proxy.objects.filter(profile=profile.name, recipe=profile.recipe)
        .annotate(kind=_kind_of("source__"), fits=ExpressionWrapper(fits, BooleanField()))
        .order_by("-id")
        .values_list(
            *("fits", "kind", "source__bytes", "source__width", "source__height"),
            *("bytes", "width", "height", "format"),
        )
    )
    sample: dict[Kind, list[Example]] = {kind: [] for kind in Kind}
    newest: Iterable[tuple[Any, ...]] = rows[:SAMPLE]
    for fit, kind, bytes_, width, height, proxy_bytes, proxy_width, proxy_height, proxy_format in newest:
        if not fit:
            continue
        example = Example(
            bytes_ / (width * height), proxy_bytes / (proxy_width * proxy_height), proxy_format == "PNG"
        )
        sample[Kind(kind)].append(example)
    return sample


def _kind_of(prefix: str) -> Case:
    """Return the kind of an original, from its row's format and mode."""
    return Case(
        When(**{f"{prefix}mode__in": _ALPHA_MODES}, then=Value(Kind.ALPHA.value)),
        When(**{f"{prefix}format__in": _LOSSY_FORMATS}, then=Value(Kind.LOSSY.value)),
        default=Value(Kind.LOSSLESS.value),
        output_field=CharField(),
    )


def _target_pixels(profile: ProxyProfile) -> Combinable:
    """Return the number of pixels of the proxy: the original's, scaled down to both limits."""
    width, height = Cast("width", FloatField()), Cast("height", FloatField())
    scales: list[Combinable] = [Value(1.0), Value(float(profile.longest_side)) / Greatest(width, height)]
    if profile.shorter_side is not None:
        scales.append(Value(float(profile.shorter_side)) / Least(width, height))
    scale = Least(*scales)
    return width * height * scale * scale


def _bytes_per_pixel() -> Combinable:
    return Cast("bytes", FloatField()) / (Cast("width", FloatField()) * Cast("height", FloatField()))

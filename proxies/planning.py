"""The plan of image proxies: sums by SQL over pages of rows, and a forecast of what will be made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from django.db.models import Case, CharField, Count, FloatField, Q, QuerySet, Sum, Value, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Coalesce, Greatest, Least

from proxies.batches.plan import Plan
from proxies.batches.selection import Selection
from proxies.forecasting import Example, Kind, Target, forecast
from proxies.models import Proxy
from proxies.outcomes import NEEDS_WORK, Outcome
from proxies.profiles import ProxyProfile
from proxies.queries import FACTS_UNKNOWN, reason_conditions, with_outcome

SAMPLE: Final = 1000
_ALPHA_MODES: Final = ("RGBA", "LA", "PA", "RGBa", "La")
_LOSSY_FORMATS: Final = ("JPEG", "WEBP", "HEIF", "AVIF", "JPEG2000")


def plan_image_proxies(selection: Selection, profile: ProxyProfile, *, force: bool = False) -> Plan:
    """The sums over a selection, two queries a page; no file is opened, nothing is written."""
    plan = Plan()
    targets = {kind: Target() for kind in Kind}
    for page in selection.pages():
        files = with_outcome(page, profile, force=force)
        for row in _sums(files, profile):
            _add_row(plan, targets, row)
        _add_standing(plan, files, profile)
    plan.forecast = forecast(targets, _sample(profile))
    return plan


def _sums(files: QuerySet[Any], profile: ProxyProfile) -> Iterable[dict[str, Any]]:
    """A row for each outcome and kind of original.

    The outcome is a group and in no condition of the sums: each mention is worked out anew for each row.
    """
    pixels = _target_pixels(profile)
    reasons = {
        f"reason_{reason}": Count("pk", filter=~FACTS_UNKNOWN & condition)
        for reason, condition in reason_conditions(profile).items()
    }
    rows: Iterable[dict[str, Any]] = (
        files.order_by()
        .annotate(kind=_kind_of(""))
        .values("outcome", "kind")
        .annotate(
            files=Count("pk"),
            unknown=Count("pk", filter=FACTS_UNKNOWN),
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
    target = targets[Kind(row["kind"])]
    target.pixels += row["pixels"] or 0
    target.squares += row["squares"] or 0
    target.weighted += row["weighted"] or 0
    for name, count in row.items():
        if name.startswith("reason_") and count:
            plan.reasons[name.removeprefix("reason_")] += count


def _add_standing(plan: Plan, files: QuerySet[Any], profile: ProxyProfile) -> None:
    """The bytes of the proxies that stand: kept, or to be replaced."""
    # One proxy for a file and profile at the most: the join adds no rows.
    stands = Q(proxies__profile=profile.name)
    rows = (
        files.filter(stands).order_by().values("outcome").annotate(sum=Sum("proxies__bytes", filter=stands))
    )
    sums = dict(rows.values_list("outcome", "sum"))
    plan.bytes_kept += sums.get(Outcome.REUSED.value) or 0
    plan.bytes_replaced += sums.get(Outcome.REPLACED.value) or 0


def _sample(profile: ProxyProfile) -> dict[Kind, list[Example]]:
    """The newest current proxies."""
    rows = (
        Proxy.objects.current(profile)
        .filter(source__width__gt=0, width__gt=0, source__bytes__gt=0)
        .annotate(kind=_kind_of("source__"))
        .order_by("-id")
        .values_list("kind", "source__bytes", "source__width", "source__height", "bytes", "width", "height")
    )
    sample: dict[Kind, list[Example]] = {kind: [] for kind in Kind}
    newest: Iterable[tuple[Any, ...]] = rows[:SAMPLE]
    for kind, bytes_, width, height, proxy_bytes, proxy_width, proxy_height in newest:
        example = Example(bytes_ / (width * height), proxy_bytes / (proxy_width * proxy_height))
        sample[Kind(kind)].append(example)
    return sample


def _kind_of(prefix: str) -> Case:
    """The kind of an original, from its row's format and mode."""
    return Case(
        When(**{f"{prefix}mode__in": _ALPHA_MODES}, then=Value(Kind.ALPHA.value)),
        When(**{f"{prefix}format__in": _LOSSY_FORMATS}, then=Value(Kind.LOSSY.value)),
        default=Value(Kind.LOSSLESS.value),
        output_field=CharField(),
    )


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

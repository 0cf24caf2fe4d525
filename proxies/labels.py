"""Texts for pages: a short sentence for each API code, and durations in words."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from media_files.console import counted
from proxies.batches.plan import Plan
from proxies.outcomes import NOT_NEEDED, Outcome
from proxies.rendering.render import Reason

PLANNED: Final[dict[str, str]] = {
    Outcome.CREATED: "will be made for the first time",
    Outcome.REPLACED: "will be made again and replace the present proxy",
    Outcome.REUSED: "up to date; nothing to do",
    Outcome.SKIPPED: "no proxy is needed",
    Outcome.FAILED: "cannot be done",
    Outcome.QUARANTINED: "in quarantine and left alone",
}

HAPPENED: Final[dict[str, str]] = {
    Outcome.CREATED: "made for the first time",
    Outcome.REPLACED: "made again; the earlier proxy was replaced",
    Outcome.REUSED: "up to date already",
    Outcome.SKIPPED: "no proxy was needed",
    Outcome.FAILED: "could not be done",
    Outcome.QUARANTINED: "in quarantine and left alone",
}

REASONS: Final[dict[str, str]] = {
    Reason.SHORTER_SIDE: "larger than the model needs",
    Reason.LONGER_SIDE: "longer than the model takes",
    Reason.FORMAT: "of a format that the model does not read",
    Reason.BYTES: "more bytes than the model takes",
    Reason.ORIENTATION: "must be rotated upright",
    Reason.COLOUR: "colours that the model does not read",
    Reason.LOCATION: "contains GPS data, which is never sent",
    Reason.METADATA: "may contain metadata, which is never sent",
    NOT_NEEDED: "the model can read the original as it is",
}

PROXY_STATES: Final[dict[str, str]] = {
    "current": "The proxy is up to date.",
    "stale": "The proxy was made from an older file or with older settings. Make it again.",
    "missing": "A proxy is needed, and there is none yet.",
    "failed": "No proxy could be made from this file: its history shows why.",
    "not_needed": "The model can read the original as it is.",
    "queued": "The proxy is waiting to be made.",
}


def reasons_text(reasons: list[str]) -> str:
    """Return reasons in one line; an unknown code is shown as it is."""
    return "; ".join(REASONS.get(reason, reason) for reason in reasons)


def work_text(plan: Plan) -> str:
    """Return a text such as ``1 of 3 files needs work``."""
    needs = "needs" if plan.needs_work == 1 else "need"
    return f"{plan.needs_work:,} of {counted(plan.total, 'file')} {needs} work"


def dollars(amount: Decimal | None) -> str | None:
    """Format US dollars for the API and JSON output: ``0.003217``."""
    return None if amount is None else f"{amount:.6f}"


_UNITS: Final = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))


def duration(seconds: float | None) -> str:
    """Format a duration by its two largest units, such as ``2 hours 5 minutes``; empty if unknown."""
    if seconds is None:
        return ""
    left = max(0, round(seconds))
    parts: list[str] = []
    for unit, length in _UNITS:
        count, rest = divmod(left, length)
        if count:
            parts.append(counted(count, unit))
            left = rest
        elif parts:
            break  # hours and seconds without minutes in between say no more than the hours
    return " ".join(parts[:2]) or "less than a second"

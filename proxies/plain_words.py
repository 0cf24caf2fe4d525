"""The contract's words explained to whoever reads a page: one short sentence each, and times in words."""

from __future__ import annotations

from typing import Final

from media_files.console import counted
from proxies.batches.plan import Plan
from proxies.imaging import Reason
from proxies.outcomes import NOT_NEEDED, Outcome

PLANNED: Final[dict[str, str]] = {
    Outcome.CREATED: "will be made for the first time",
    Outcome.REPLACED: "will be made again, in place of what is there",
    Outcome.REUSED: "up to date; nothing to do",
    Outcome.SKIPPED: "nothing has to be made",
    Outcome.FAILED: "cannot be done",
    Outcome.QUARANTINED: "in quarantine and left alone",
}

HAPPENED: Final[dict[str, str]] = {
    Outcome.CREATED: "made for the first time",
    Outcome.REPLACED: "made again, in place of what was there",
    Outcome.REUSED: "up to date already",
    Outcome.SKIPPED: "nothing had to be made",
    Outcome.FAILED: "could not be done",
    Outcome.QUARANTINED: "in quarantine and left alone",
}

REASONS: Final[dict[str, str]] = {
    Reason.SHORTER_SIDE: "larger than the model needs",
    Reason.LONGER_SIDE: "longer than the model takes",
    Reason.FORMAT: "of a format that the model does not read",
    Reason.BYTES: "more bytes than the model takes",
    Reason.ORIENTATION: "must be turned to stand upright",
    Reason.COLOUR: "colours that the model does not read",
    Reason.LOCATION: "tells where it was taken, which is never sent",
    NOT_NEEDED: "the model can read the original as it is",
}

PROXY_STATES: Final[dict[str, str]] = {
    "current": "The proxy is up to date.",
    "stale": "The proxy is of an older file or of older settings. It is to be made again.",
    "missing": "A proxy is needed, and there is none yet.",
    "failed": "Its proxy could not be made of this file: what was done with it says why.",
    "not_needed": "The model can read the original as it is.",
    "queued": "The proxy is on its way.",
}


def reasons_text(reasons: list[str]) -> str:
    """Reasons in one line; a word that is not known here is shown as it is."""
    return "; ".join(REASONS.get(reason, reason) for reason in reasons)


def work_text(plan: Plan) -> str:
    """``1 of 3 files needs work``."""
    needs = "needs" if plan.needs_work == 1 else "need"
    return f"{plan.needs_work:,} of {counted(plan.total, 'file')} {needs} work"


_UNITS: Final = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))


def duration(seconds: float | None) -> str:
    """``2 hours 5 minutes``: the two largest units that count; empty where nothing is known."""
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
            break  # hours and seconds without minutes between them say no more than the hours
    return " ".join(parts[:2]) or "less than a second"

"""Texts for pages: words and a short sentence for each API code, and durations in words."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from django.utils.translation import gettext, ngettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from media_files.localised import number
from proxies.batches.plan import Plan
from proxies.outcomes import NOT_NEEDED, Outcome
from proxies.rendering.render import Reason

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

WORDS: Final[dict[str, StrOrPromise]] = {
    "always_on": _("always on"),
    "cancelled": _("cancelled"),
    "completed": _("completed"),
    "created": _("created"),
    "current": _("up to date"),
    "done": _("done"),
    "failed": _("failed"),
    "force": _("force"),
    "missing": _("missing"),
    "not_needed": _("not needed"),
    "paused": _("paused"),
    "quarantined": _("quarantined"),
    "queued": _("queued"),
    "replaced": _("replaced"),
    "reused": _("reused"),
    "running": _("running"),
    "skipped": _("skipped"),
    "stale": _("outdated"),
    "stopped": _("stopped"),
    "stopping": _("stopping"),
}

PLANNED: Final[dict[str, StrOrPromise]] = {
    Outcome.CREATED: _("will be made for the first time"),
    Outcome.REPLACED: _("will be made again and replace the present proxy"),
    Outcome.REUSED: _("up to date; nothing to do"),
    Outcome.SKIPPED: _("no proxy is needed"),
    Outcome.FAILED: _("cannot be done"),
    Outcome.QUARANTINED: _("in quarantine and left alone"),
}

HAPPENED: Final[dict[str, StrOrPromise]] = {
    Outcome.CREATED: _("made for the first time"),
    Outcome.REPLACED: _("made again; the earlier proxy was replaced"),
    Outcome.REUSED: _("up to date already"),
    Outcome.SKIPPED: _("no proxy was needed"),
    Outcome.FAILED: _("could not be done"),
    Outcome.QUARANTINED: _("in quarantine and left alone"),
}

REASONS: Final[dict[str, StrOrPromise]] = {
    Reason.SHORTER_SIDE: _("larger than the model needs"),
    Reason.LONGER_SIDE: _("longer than the model takes"),
    Reason.FORMAT: _("of a format that the model does not read"),
    Reason.BYTES: _("more bytes than the model takes"),
    Reason.ORIENTATION: _("must be rotated upright"),
    Reason.COLOUR: _("colours that the model does not read"),
    Reason.LOCATION: _("contains GPS data, which is never sent"),
    Reason.METADATA: _("may contain metadata, which is never sent"),
    NOT_NEEDED: _("the model can read the original as it is"),
}

PROXY_STATES: Final[dict[str, StrOrPromise]] = {
    "current": _("The proxy is up to date."),
    "stale": _("The proxy was made from an older file or with older settings. Make it again."),
    "missing": _("A proxy is needed, and there is none yet."),
    "failed": _("No proxy could be made from this file: its history shows why."),
    "not_needed": _("The model can read the original as it is."),
    "queued": _("The proxy is waiting to be made."),
}


def word_of(code: str) -> str:
    """Return a code in words; an unknown one with spaces instead of underscores."""
    return str(WORDS.get(code) or code.replace("_", " "))


def batch_name(number: int | str, *, standing: bool = False) -> str:
    """Return the name of a batch on pages: ``Batch 12``, or ``New uploads`` for the standing one."""
    return gettext("New uploads") if standing else gettext("Batch %(number)s") % {"number": number}


def reasons_text(reasons: list[str]) -> str:
    """Return reasons in one line; an unknown code is shown as it is."""
    return "; ".join(str(REASONS.get(reason, reason)) for reason in reasons)


def work_text(plan: Plan) -> str:
    """Return a text such as ``1 of 3 files needs work``."""
    if plan.total == 1:
        text = ngettext("%(count)s of 1 file needs work", "%(count)s of 1 file need work", plan.needs_work)
    else:
        text = ngettext(
            "%(count)s of %(total)s files needs work",
            "%(count)s of %(total)s files need work",
            plan.needs_work,
        )
    return text % {"count": number(plan.needs_work), "total": number(plan.total)}


def dollars(amount: Decimal | None) -> str | None:
    """Format US dollars for the API and JSON output: ``0.003217``."""
    return None if amount is None else f"{amount:.6f}"


_UNITS: Final = (
    (ngettext_lazy("%(count)s day", "%(count)s days", "units"), 86_400),
    (ngettext_lazy("%(count)s hour", "%(count)s hours", "units"), 3600),
    (ngettext_lazy("%(count)s minute", "%(count)s minutes", "units"), 60),
    (ngettext_lazy("%(count)s second", "%(count)s seconds", "units"), 1),
)


def duration(seconds: float | None) -> str:
    """Format a duration by its two largest units, such as ``2 hours 5 minutes``; empty if unknown."""
    if seconds is None:
        return ""
    left = max(0, round(seconds))
    parts: list[str] = []
    for unit, length in _UNITS:
        count, rest = divmod(left, length)
        if count:
            parts.append(unit % {"units": count, "count": number(count)})
            left = rest
        elif parts:
            break  # hours and seconds without minutes in between say no more than the hours
    return " ".join(parts[:2]) or gettext("less than a second")

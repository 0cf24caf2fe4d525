"""Template tags for the pages of proxies and batches: texts, badges and the progress bar."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.safestring import SafeString

from media_files.admin import dimensions_text, size_text
from media_files.console import counted
from media_files.localised import number as localised_number
from proxies import labels
from proxies.admin.proxies import badge
from proxies.batches.progress import Progress
from proxies.outcomes import Outcome

register = template.Library()

register.filter("duration", labels.duration)
register.filter("reasons_text", labels.reasons_text)
register.filter("word", labels.word_of)
register.filter("size_text", size_text)
register.filter("counted", counted)


@register.filter
def thousands(number: int | None) -> str:
    """Format a number with separators: ``40,000``."""
    return localised_number(number)


@register.filter
def word_badge(code: str) -> SafeString:
    """Return an API code in words as a coloured badge; the colour conveys nothing that the words do not."""
    return badge(code)


@register.filter
def pixels(thing: Any) -> str:
    """Format the width and height of an original or a proxy."""
    return dimensions_text(thing.width, thing.height)


@register.inclusion_tag("proxies/bar.html")
def progress_bar(progress: Progress) -> dict[str, Any]:
    """Return the context of a bar of made, not needed and failed files; its label says the same in words."""
    counts, total = progress.counts, progress.total
    kinds = {
        "made": counts.get(Outcome.CREATED, 0) + counts.get(Outcome.REPLACED, 0),
        "settled": counts.get(Outcome.REUSED, 0) + counts.get(Outcome.SKIPPED, 0),
        "failed": progress.failed,
    }
    parts, at = [], 0.0
    for kind, count in kinds.items():
        width = 100 * count / total if total else 0.0
        if width:
            parts.append({"kind": kind, "at": f"{at:.3f}%", "width": f"{width:.3f}%"})
        at += width
    return {"progress": progress, "parts": parts}

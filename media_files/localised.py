"""Numbers and sizes in the language of the page: 40,000 and 1.2 MB, or 40.000 and 1,2 MB."""

from __future__ import annotations

from decimal import Decimal

from django.utils.formats import number_format
from django.utils.translation import gettext as _


def number(value: float | Decimal | None, decimals: int = 0) -> str:
    """Format a number with grouped digits; None is 0."""
    return number_format(value or 0, decimals, force_grouping=True)


def human_bytes(count: int | None) -> str:
    """Format 1,234,567 bytes as ``1.2 MB``, and None as ``unknown``."""
    if count is None:
        return _("unknown")
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{number(size, 0 if unit == 'B' else 1)} {unit}"
        size /= 1000
    return f"{number(size, 1)} TB"

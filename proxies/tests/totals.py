"""Read the last line that a command prints with ``--json``."""

from __future__ import annotations

from typing import Any

from proxies.outcomes import Outcome


def outcomes(totals: dict[str, Any]) -> dict[str, int]:
    """Return the non-zero counts."""
    return {outcome.value: totals[outcome] for outcome in Outcome if totals[outcome]}

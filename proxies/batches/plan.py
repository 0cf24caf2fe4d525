"""A plan: a preview, in numbers, of what a run would do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from proxies.outcomes import NEEDS_WORK
from proxies.rendering.size_forecast import Forecast


@dataclass(slots=True)
class Plan:
    """The totals over a selection.

    Attributes:
        outcomes: how many files would have each outcome.
        reasons: how many files need a proxy for each reason; a file may have several.
        unknown_facts: how many files must be read before their outcome is more than a guess.
        bytes_originals: of all files in the selection.
        bytes_kept: of the up-to-date proxies that would be reused.
        bytes_replaced: of the proxies that would be replaced.
        bytes_to_send: of the originals in whose place a proxy is, or would be, sent.
        forecast: the estimated size of the proxies that would be made.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    unknown_facts: int = 0
    bytes_originals: int = 0
    bytes_kept: int = 0
    bytes_replaced: int = 0
    bytes_to_send: int = 0
    forecast: Forecast = field(default_factory=lambda: Forecast(0))

    @property
    def total(self) -> int:
        return self.outcomes.total()

    @property
    def needs_work(self) -> int:
        return sum(self.outcomes[outcome] for outcome in NEEDS_WORK)

    @property
    def bytes_proxies(self) -> int | None:
        return None if self.forecast.bytes is None else self.bytes_kept + self.forecast.bytes

    @property
    def bytes_disk_added(self) -> int | None:
        """The extra disk space that the proxies would take."""
        return None if self.forecast.bytes is None else self.forecast.bytes - self.bytes_replaced

    @property
    def bytes_not_sent(self) -> int | None:
        """The upload that an analysis would save. Unrelated to disk space, of which proxies only add."""
        return None if self.bytes_proxies is None else self.bytes_to_send - self.bytes_proxies

    def as_json(self) -> dict[str, Any]:
        """Return the plan with the keys that the API defines."""
        return {
            **{str(outcome): count for outcome, count in sorted(self.outcomes.items())},
            "total": self.total,
            "reasons": dict(sorted(self.reasons.items())),
            "bytes_originals": self.bytes_originals,
            "bytes_proxies": self.bytes_proxies,
            "bytes_disk_added": self.bytes_disk_added,
            "bytes_not_sent": self.bytes_not_sent,
            "forecast": {
                "sample": self.forecast.sample,
                "low": self.forecast.low,
                "high": self.forecast.high,
            },
        }

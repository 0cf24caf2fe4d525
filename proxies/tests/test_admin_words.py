"""The admin's plain words: one for each term of the contract."""

from __future__ import annotations

import pytest

from proxies.api.proxies import PROXY_STATES as API_STATES
from proxies.labels import HAPPENED, PLANNED, PROXY_STATES, REASONS, duration, reasons_text
from proxies.outcomes import NOT_NEEDED, Outcome
from proxies.rendering.render import Reason


def test_every_term_has_an_explanation() -> None:
    assert set(PLANNED) == set(HAPPENED) == set(Outcome)
    assert set(REASONS) == {*Reason, NOT_NEEDED}
    assert set(PROXY_STATES) == {*API_STATES, "queued"}


def test_reasons_fit_on_one_line() -> None:
    assert reasons_text(["orientation", "unheard_of"]) == "must be rotated upright; unheard_of"
    assert reasons_text([]) == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (-3, "less than a second"),
        (0.2, "less than a second"),
        (1, "1 second"),
        (59.6, "1 minute"),
        (61, "1 minute 1 second"),
        (3600, "1 hour"),
        (3605, "1 hour"),
        (7500, "2 hours 5 minutes"),
        (86_400 + 7200 + 60, "1 day 2 hours"),
        (86_400 * 3 + 60, "3 days"),
    ],
)
def test_a_duration_shows_its_two_largest_units(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words

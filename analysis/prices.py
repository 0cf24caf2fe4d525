"""Prices of calls, from the dated table `prices.toml` next to this file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

TABLE: Final = Path(__file__).with_name("prices.toml")
_MILLION: Final = 1_000_000
_NANO: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """An amount and its source.

    Attributes:
        amount: US dollars; None if the table has no price.
        day: when the price was looked up.
        source: where the price was published.
    """

    amount: Decimal | None
    day: date
    source: str


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """The prices of a Nova model.

    Attributes:
        input: US dollars per million input tokens.
        output: US dollars per million output tokens.
        image_tokens: tokens billed per image, if independent of its size.
        image_examples: (px, tokens) pairs, if the tokens depend on the size.
        day: when the price was looked up.
        source: where the price was published.
    """

    input: Decimal
    output: Decimal
    image_tokens: int | None
    image_examples: tuple[tuple[int, int], ...]
    day: date
    source: str

    def tokens_of_image(self, width: int, height: int) -> int:
        """Return the tokens billed for an image of this size, interpolated and extrapolated from examples."""
        if self.image_tokens is not None:
            return self.image_tokens
        pixels, examples = width * height, self.image_examples
        for (below, few), (above, many) in pairwise(examples):
            if pixels <= above:
                return max(1, round(few + (many - few) * (pixels - below) / (above - below)))
        most_pixels, most = examples[-1]
        return round(most * pixels / most_pixels)


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    return tomllib.loads(TABLE.read_text())


def day() -> date:
    """Return the date when the whole table was last checked."""
    return _day(_table())


def _day(row: dict[str, Any]) -> date:
    found = row["date"]
    if not isinstance(found, date):
        raise TypeError(f"Write each date in {TABLE.name} like 2026-11-22.")
    return found


def token_price(model_id: str) -> TokenPrice | None:
    """Return the prices of a Nova model; None if the table does not list it."""
    row = _table()["nova"].get(model_id)
    if row is None:
        return None
    examples = sorted((width * height, tokens) for width, height, tokens in row.get("image_examples", []))
    return TokenPrice(
        input=Decimal(row["input"]),
        output=Decimal(row["output"]),
        image_tokens=row.get("image_tokens"),
        image_examples=tuple(examples),
        day=_day(row),
        source=row["source"],
    )


def answer_tokens() -> int:
    """Return the assumed tokens per answer while there are no earlier answers."""
    return int(_table()["nova_answer"]["tokens"])


def price_of_tokens(model_id: str, tokens_in: int, tokens_out: int, *, tier: str = "") -> Price:
    """Return the price of a call with these billed tokens."""
    known = token_price(model_id)
    if known is None:
        return Price(None, day(), f"There is no price of {model_id} in {TABLE.name}")
    share = _table()["nova_tiers"].get(tier or "default")
    if share is None:
        return Price(None, day(), f"There is no price of the service tier {tier} in {TABLE.name}")
    amount = Decimal(share) * (known.input * tokens_in + known.output * tokens_out) / _MILLION
    return Price(amount, known.day, known.source)


def price_of_image(*, custom_labels: bool) -> Price:
    """Return the price of one Rekognition feature for one image."""
    row = _table()["rekognition"]
    return Price(Decimal(row["custom_labels" if custom_labels else "image"]), _day(row), row["source"])


def nano(amount: Decimal | None) -> int:
    """Convert US dollars to whole nano-dollars; an unknown price counts as 0."""
    return 0 if amount is None else int((amount * _NANO).to_integral_value())


def dollars(nano_dollars: int) -> Decimal:
    """Convert nano-dollars to US dollars."""
    return Decimal(nano_dollars) / _NANO

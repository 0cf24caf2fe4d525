"""What calls cost, by the dated table `prices.toml` beside this file."""

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
    """A sum and where it comes from.

    Attributes:
        amount: US dollars; None where the table knows no price.
        day: on which it was looked up.
        source: who says so.
    """

    amount: Decimal | None
    day: date
    source: str


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """What a Nova model costs.

    Attributes:
        input: US dollars for a million tokens in.
        output: US dollars for a million tokens out.
        image_tokens: billed for each image, where that is one number for all.
        image_examples: (px, tokens) of images, where it follows from the size.
        day: on which it was looked up.
        source: who says so.
    """

    input: Decimal
    output: Decimal
    image_tokens: int | None
    image_examples: tuple[tuple[int, int], ...]
    day: date
    source: str

    def tokens_of_image(self, width: int, height: int) -> int:
        """What an image of this many px is billed as; between and beyond the examples in proportion."""
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
    """The day on which the whole table was looked through."""
    return _day(_table())


def _day(row: dict[str, Any]) -> date:
    found = row["date"]
    if not isinstance(found, date):
        raise TypeError(f"Each date in {TABLE.name} is a date, as 2026-11-22.")
    return found


def token_price(model_id: str) -> TokenPrice | None:
    """What a Nova model costs; None where the table does not know it."""
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
    """Tokens of an answer, before there are answers to learn from."""
    return int(_table()["nova_answer"]["tokens"])


def price_of_tokens(model_id: str, tokens_in: int, tokens_out: int, *, tier: str = "") -> Price:
    """What a call of these billed tokens costs."""
    known = token_price(model_id)
    if known is None:
        return Price(None, day(), f"There is no price of {model_id} in {TABLE.name}")
    share = _table()["nova_tiers"].get(tier or "default")
    if share is None:
        return Price(None, day(), f"There is no price of the service tier {tier} in {TABLE.name}")
    amount = Decimal(share) * (known.input * tokens_in + known.output * tokens_out) / _MILLION
    return Price(amount, known.day, known.source)


def price_of_image(*, custom_labels: bool) -> Price:
    """What one image costs Rekognition's caller, for one feature."""
    row = _table()["rekognition"]
    return Price(Decimal(row["custom_labels" if custom_labels else "image"]), _day(row), row["source"])


def nano(amount: Decimal | None) -> int:
    """Dollars in whole nano-dollars; an unknown price counts as nothing."""
    return 0 if amount is None else int((amount * _NANO).to_integral_value())


def dollars(nano_dollars: int) -> Decimal:
    """The way back."""
    return Decimal(nano_dollars) / _NANO

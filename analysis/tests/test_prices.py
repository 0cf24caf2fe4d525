"""The price table, and the costs calculated from it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from analysis import prices


def test_every_price_has_a_date_and_a_source() -> None:
    assert isinstance(prices.day(), date)
    of_tokens = [prices.price_of_tokens(model, 1, 1) for model in prices._table()["nova"]]
    for price in [*of_tokens, prices.price_of_image(custom_labels=False)]:
        assert price.amount
        assert isinstance(price.day, date)
        assert price.source


@pytest.mark.parametrize("size", [(100, 100), (896, 1344), (8000, 8000)])
def test_nova_2_lite_bills_230_tokens_per_image_of_any_size(size: tuple[int, int]) -> None:
    price = prices.token_price("us.amazon.nova-2-lite-v1:0")
    assert price is not None
    assert price.tokens_of_image(*size) == 230


@pytest.mark.parametrize(
    ("size", "least", "most"),
    [
        ((900, 450), 800, 800),
        ((900, 900), 1300, 1300),
        ((1100, 900), 1301, 1799),
        ((4000, 3000), 9000, 30_000),
    ],
    ids=["first example", "second example", "interpolated", "extrapolated"],
)
def test_the_first_generation_bills_by_size(size: tuple[int, int], least: int, most: int) -> None:
    price = prices.token_price("us.amazon.nova-lite-v1:0")
    assert price is not None
    assert least <= price.tokens_of_image(*size) <= most


def test_a_call_costs_its_tokens_and_half_in_the_flex_tier() -> None:
    full = prices.price_of_tokens("us.amazon.nova-2-lite-v1:0", 1_000_000, 1_000_000)
    assert full.amount == Decimal("3.08")
    half = prices.price_of_tokens("us.amazon.nova-2-lite-v1:0", 1_000_000, 1_000_000, tier="flex")
    assert half.amount == Decimal("1.54")


def test_an_unknown_tier_has_no_price() -> None:
    assert prices.price_of_tokens("us.amazon.nova-2-lite-v1:0", 1, 1, tier="default").amount
    unknown = prices.price_of_tokens("us.amazon.nova-2-lite-v1:0", 1, 1, tier="priority")
    assert (unknown.amount, "priority" in unknown.source) == (None, True)


def test_an_unknown_model_has_no_price() -> None:
    assert prices.price_of_tokens("us.somebody.else", 1, 1).amount is None
    assert prices.nano(None) == 0


def test_dollars_survive_the_conversion_to_nano_dollars_and_back() -> None:
    assert prices.dollars(prices.nano(Decimal("0.000781660"))) == Decimal("0.000781660")

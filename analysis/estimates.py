"""Estimate the cost of calls from the price table and the length of earlier answers."""

from __future__ import annotations

import time
from decimal import Decimal
from functools import lru_cache
from typing import Final

from analysis.models import Analysis
from analysis.providers.base import Image, Provider, Request

# Number of recent answers to average, and the minimum for an estimate.
_SAMPLE: Final = 200
_LEAST: Final = 5
# Seconds for which an average is cached.
_REMEMBERED: Final = 30


def expected_cost(provider: Provider, request: Request, image: Image) -> Decimal | None:
    """Return the expected cost of one call in US dollars; None if the price is unknown."""
    tokens = answer_tokens(provider, request)
    return provider.price(request, provider.expected(request, image, answer_tokens=tokens)).amount


def most_cost(provider: Provider, request: Request, image: Image) -> Decimal | None:
    """Return the cost in US dollars of one call whose answer has the maximum length."""
    longest = provider.most_answer_tokens(request)
    return provider.price(request, provider.expected(request, image, answer_tokens=longest)).amount


def answer_tokens(provider: Provider, request: Request) -> int | None:
    """Return the mean length of recent answers to this question, in tokens; None if there are too few."""
    if provider.most_answer_tokens(request) is None:
        return None
    return _learned(
        provider.name, request.model, request.request_version, int(time.monotonic() // _REMEMBERED)
    )


@lru_cache(maxsize=64)
def _learned(provider: str, model: str, version: str, moment: int) -> int | None:
    newest = (
        Analysis.everything.done()
        .filter(provider=provider, model=model, request_version=version, reused_from=None)
        .order_by("-id")[:_SAMPLE]
    )
    tokens = [
        count
        for usage in newest.values_list("usage", flat=True)
        if (count := usage.get("reported", {}).get("output_tokens")) is not None
    ]
    return round(sum(tokens) / len(tokens)) if len(tokens) >= _LEAST else None

"""Model output is sanitized and limited before it is stored."""

from __future__ import annotations

import json
import math
from typing import Any

from analysis.results import LEFT_OUT, Box, Found, Result, kept


def test_a_raw_answer_is_converted_to_json_that_databases_can_store() -> None:
    raw = {"a\x00": [math.nan, 1.5, "\udfff!", {"b": math.inf}], "c": None, "d": True, "e": b"\xff"}
    assert kept(raw) == {"a": [None, 1.5, "!", {"b": None}], "c": None, "d": True, "e": "b'\\xff'"}


def test_results_have_a_schema_version_and_unique_names() -> None:
    result = Result(
        caption="A tower",
        labels=[Found("Tower", 0.4), Found("SEA", None)],
        objects=[Found("tower", 0.9, Box(0, 0, 1, 1))],
    )
    assert result.as_json()["version"] == 1
    assert result.names == {"tower": 0.9, "sea": None}
    assert result.search_text == "A tower\nTower\nSEA\ntower"


def test_the_search_text_stays_within_the_limit_of_postgresql() -> None:
    assert len(Result(text=[Found("x" * 20_000)] * 1000).search_text) == 200_000


def test_a_raw_answer_is_limited_in_depth_and_size() -> None:
    deep: Any = "end"
    for _ in range(100_000):
        deep = [deep]
    assert LEFT_OUT in json.dumps(kept({"deep": deep, "flat": 1}))
    assert len(json.dumps(kept({"long": ["x" * 1000] * 10_000}))) < 3_000_000
    assert len(json.dumps(kept([[1] * 1000] * 1000))) < 3_000_000
    assert kept({"huge": 10**5000, "count": 10**15}) == {"huge": None, "count": 10**15}

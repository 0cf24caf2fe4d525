"""What comes from a model is measured before it is kept."""

from __future__ import annotations

import math

import pytest

from analysis.errors import MalformedOutput
from analysis.results import (
    Box,
    Found,
    Result,
    box_of_corners,
    box_of_ratios,
    entries_of,
    kept,
    mapping_of,
    ratio_of,
    text_of,
)


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        ((250, 100, 500, 900), Box(0.25, 0.1, 0.25, 0.8)),
        ((500, 900, 250, 100), Box(0.25, 0.1, 0.25, 0.8)),
        ((-20, 0, 1100, 1000), Box(0.0, 0.0, 1.0, 1.0)),
        ((10, 10, 10, 500), None),
        ((1200, 1200, 1300, 1300), None),
    ],
    ids=["as asked for", "corners exchanged", "over the edges", "no width", "outside"],
)
def test_a_box_of_corners_becomes_ratios(corners: tuple[int, ...], expected: Box | None) -> None:
    assert box_of_corners(corners, "box", scale=1000) == expected


def test_a_box_of_ratios_is_cut_off_at_the_edges() -> None:
    assert box_of_ratios(-0.1, 0.5, 0.3, 0.9, "box") == Box(0.0, 0.5, 0.2, 0.5)


@pytest.mark.parametrize("value", [None, "1", True, math.nan, math.inf, [1], 10**400])
def test_what_is_no_number_is_malformed(value: object) -> None:
    with pytest.raises(MalformedOutput, match="number"):
        ratio_of(value, "confidence")


@pytest.mark.parametrize("value", [None, 3, ["a"], {"a": 1}], ids=repr)
def test_what_is_no_text_is_malformed(value: object) -> None:
    with pytest.raises(MalformedOutput, match="caption"):
        text_of(value, "caption")


@pytest.mark.parametrize("value", [None, "abc", {"a": 1}, [0] * 1001], ids=["None", "text", "object", "long"])
def test_what_is_no_list_of_this_world_is_malformed(value: object) -> None:
    with pytest.raises(MalformedOutput, match="labels"):
        entries_of(value, "labels")


def test_what_is_no_object_is_malformed() -> None:
    with pytest.raises(MalformedOutput, match="object"):
        mapping_of([], "output")


def test_text_loses_what_no_database_keeps() -> None:
    assert text_of(" a\x00b\ud800\x1b[31m\nc ", "caption") == "ab[31m\nc"


def test_a_raw_answer_is_brought_to_json_that_every_database_keeps() -> None:
    raw = {"a\x00": [math.nan, 1.5, "\udfff!", {"b": math.inf}], "c": None, "d": True, "e": b"\xff"}
    assert kept(raw) == {"a": [None, 1.5, "!", {"b": None}], "c": None, "d": True, "e": "b'\\xff'"}


def test_the_schema_says_its_version_and_names_are_told_once() -> None:
    result = Result(
        caption="A tower",
        labels=[Found("Tower", 0.4), Found("SEA", None)],
        objects=[Found("tower", 0.9, Box(0, 0, 1, 1))],
    )
    assert result.as_json()["version"] == 1
    assert result.names == {"tower": 0.9, "sea": None}
    assert result.search_text == "A tower\nTower\nSEA\ntower"


def test_what_is_searched_is_no_longer_than_postgresql_takes() -> None:
    assert len(Result(text=[Found("x" * 20_000)] * 1000).search_text) == 200_000

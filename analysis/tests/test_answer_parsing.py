"""Answers are parsed tolerantly: everything readable is kept, and what is dropped is counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from analysis.answer_parsing import (
    Unreadable,
    box_of,
    box_of_ratios,
    confidence_of,
    number_of,
    percent_of,
    text_of,
)
from analysis.errors import MalformedOutput, ProviderError
from analysis.models import Analysis
from analysis.providers import get
from analysis.providers.rekognition import FEATURES
from analysis.results import Box, Result
from analysis.services import AnalysisService
from analysis.tests import model_answers
from analysis.tests.wire import Service
from media_files.models import MediaFile

Keep = Callable[..., MediaFile]
BOX = Box(0.01, 0.02, 0.09, 0.18)


def read(output: Any) -> Result:
    """Parse a tool's output like Nova's."""
    return get("nova").read(model_answers.tool_answer(output), model="nova", question="")


def read_text(text: str) -> Result:
    """Parse an answer in plain text although the tool was requested."""
    return get("nova").read(model_answers.converse_answer([{"text": text}]), model="nova", question="")


# -- Boxes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        [10, 20, 100, 200],
        ["10", "20", "100", "200"],
        [100, 200, 10, 20],
        [[10, 20], [100, 200]],
        {"x1": 10, "y1": 20, "x2": 100, "y2": 200},
        {"x_min": 10, "y_min": 20, "x_max": 100, "y_max": 200},
        {"left": 10, "top": 20, "width": 90, "height": 180},
        {"box": [10, 20, 100, 200]},
        {"box": {"x1": 10, "y1": 20, "x2": 100, "y2": 200}},
        "[10, 20, 100, 200]",
        '{"x1": 10, "y1": 20, "x2": 100, "y2": 200}',
        [0.01, 0.02, 0.1, 0.2],
        {"x": "0.01", "y": 0.02, "w": 0.09, "h": 0.18},
    ],
    ids=repr,
)
def test_boxes_are_parsed_in_every_form(value: object) -> None:
    assert box_of(value, scale=1000) == BOX


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([0, 0, 1, 1], Box(0, 0, 1, 1)),
        ([0.5, 0.5, 1.02, 1], Box(0.5, 0.5, 0.5, 0.5)),
        ([-20, 0, 1100, 1000], Box(0, 0, 1, 1)),
        ([1, 2, 3, 4], Box(0.001, 0.002, 0.002, 0.002)),
    ],
    ids=repr,
)
def test_ratios_and_thousandths_are_distinguished(value: object, expected: Box) -> None:
    assert box_of(value, scale=1000) == expected


@pytest.mark.parametrize(
    "value",
    [
        [1, 2, 3], [10, 10, 10, 500], [1200, 1200, 1300, 1300], [0, 0, 4000, 3000], "left", 7, {},
        [1, 2, None, 4], {"x1": 1}, [True, 0, 1, 1], "[" * 100_000,
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_invalid_boxes_are_unreadable(value: object) -> None:
    with pytest.raises(Unreadable):
        box_of(value, scale=1000)


def test_a_box_of_ratios_is_clipped_at_the_edges() -> None:
    assert box_of_ratios(-0.1, "0.5", 0.3, 0.9) == Box(0.0, 0.5, 0.2, 0.5)


# -- Numbers and text ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.95, 0.95), ("0.95", 0.95), (95, 0.95), ("95", 0.95), ("95%", 0.95), ("0.5%", 0.005), (1, 1.0),
        (100, 1.0), (1.0000001, 1.0), (0, 0.0), (" 0.95 ", 0.95),
    ],
)  # fmt: skip
def test_confidence_is_a_ratio_or_a_percentage(value: object, expected: float) -> None:
    assert confidence_of(value) == expected


@pytest.mark.parametrize("value", ["high", True, [1], -0.5, 101, "1e400", float("nan"), 10**400, "9" * 100])
def test_invalid_confidences_are_unreadable(value: object) -> None:
    with pytest.raises(Unreadable):
        confidence_of(value)


def test_rekognition_always_uses_percentages() -> None:
    assert percent_of(0.5) == 0.005


@pytest.mark.parametrize("value", [None, {}, [], "", "   ", "\x00", True, float("inf"), 10**400])
def test_invalid_text_is_unreadable(value: object) -> None:
    with pytest.raises(Unreadable):
        text_of(value)


def test_text_is_sanitized_and_numbers_become_text() -> None:
    assert text_of(" a\x00b\ud800\x1b[31m\nc ") == "ab[31m\nc"
    assert text_of(42) == "42"


# -- Whole answers ---------------------------------------------------------------------------------

LIGHTHOUSE = read(model_answers.LIGHTHOUSE)
WHOLE = json.dumps(model_answers.LIGHTHOUSE)


@pytest.mark.parametrize(
    "output",
    [
        WHOLE,
        json.dumps(WHOLE),
        f"```json\n{WHOLE}\n```",
        {"record_picture": model_answers.LIGHTHOUSE},
        {**model_answers.LIGHTHOUSE, "safety": None},
        {key: value for key, value in model_answers.LIGHTHOUSE.items() if key != "safety"},
        {
            key: json.dumps(value) if key != "caption" else value
            for key, value in model_answers.LIGHTHOUSE.items()
        },
    ],
    ids=["string", "twice encoded", "fence", "wrapped", "null list", "missing list", "lists in strings"],
)
def test_answers_are_parsed_in_every_form(output: Any) -> None:
    assert read(output) == LIGHTHOUSE


@pytest.mark.parametrize(
    "text", [WHOLE, f"```json\n{WHOLE}\n```", f"```\n{WHOLE}```", f"Here you {{are}}: {WHOLE} Anything else?"]
)
def test_an_answer_in_text_instead_of_the_tool_is_parsed(text: str) -> None:
    assert read_text(text) == LIGHTHOUSE


def test_the_output_of_an_invented_tool_is_parsed() -> None:
    use = {"toolUse": {"toolUseId": "1", "name": "describe", "input": model_answers.LIGHTHOUSE}}
    answer = model_answers.converse_answer([{"text": "I will."}, use])
    assert get("nova").read(answer, model="nova", question="") == LIGHTHOUSE


def test_entries_are_parsed_in_every_form() -> None:
    result = read(
        {
            "caption": None,
            "labels": ["Sea", {"label": "Rock", "score": "90%"}, '{"name": "Sky"}'],
            "objects": [
                {"name": "Tower", "box": [10, 20, 100, 200], "confidence": "0.95"},
                {"name": "Boat", "bbox": "[10, 20, 100, 200]", "confidence": 95},
                {"name": "Bird", "x1": 10, "y1": 20, "x2": 100, "y2": 200},
                {"car": [10, 20, 100, 200]},
            ],
            "text": [{"text": 42}],
        }
    )
    assert [(found.name, found.confidence) for found in result.labels] == [
        ("Sea", None), ("Rock", 0.9), ("Sky", None),
    ]  # fmt: skip
    assert [(found.name, found.confidence, found.box) for found in result.objects] == [
        ("Tower", 0.95, BOX), ("Boat", 0.95, BOX), ("Bird", None, BOX), ("car", None, BOX),
    ]  # fmt: skip
    assert (result.text[0].name, result.caption, result.dropped) == ("42", "", 0)


@pytest.mark.parametrize("bad", [None, 7, {}, {"name": None}, {"name": {}}, [], ""], ids=repr)
def test_one_bad_entry_of_forty_does_not_affect_the_others(nova: Service, keep: Keep, bad: object) -> None:
    good = [{"name": f"Gull {number}", "box": [10, 20, 100, 200]} for number in range(39)]
    nova.answer = lambda asked: model_answers.tool_answer(
        {"caption": "Gulls", "objects": [*good[:7], bad, *good[7:]]}
    )
    (row,) = AnalysisService().analyze(keep()).analyses
    assert (row.status, len(row.result["objects"]), row.result["dropped"]) == ("done", 39, 1)


def test_a_bad_box_or_confidence_keeps_the_name_and_the_rest(
    nova: Service, keep: Keep, client: Client, admin_client: Client
) -> None:
    objects = [
        {"name": "Tower", "box": [1, 2, 3], "confidence": 0.5},
        {"name": "Boat", "box": [10, 20, 100, 200], "confidence": "certain"},
    ]
    nova.answer = lambda asked: model_answers.tool_answer({"caption": "Both", "objects": objects})
    (row,) = AnalysisService().analyze(keep()).analyses
    assert [(each["name"], each["confidence"], bool(each["box"])) for each in row.result["objects"]] == [
        ("Tower", 0.5, False), ("Boat", None, True),
    ]  # fmt: skip
    assert row.result["dropped"] == 2
    answer = admin_client.get(f"/api/files/{row.file_id}/analyses").json()["results"][0]
    assert answer["result"]["dropped"] == 2
    page = admin_client.get(reverse("admin:analysis_analysis_change", args=[row.pk]))
    assert "2 values in the answer could not be read" in page.content.decode()


def test_excess_entries_are_dropped_and_counted() -> None:
    result = read({"labels": ["Sea"] * 1005})
    assert (len(result.labels), result.dropped) == (1000, 5)


@pytest.mark.parametrize("feature", FEATURES)
def test_one_bad_rekognition_entry_does_not_affect_the_others(feature: str) -> None:
    good = next(value for key, value in model_answers.REKOGNITION.items() if _asks(feature, key))
    bad = {key: [*value, "odd", None] if isinstance(value, list) else value for key, value in good.items()}
    found = get("rekognition").read(good, model=feature, question="")
    result = get("rekognition").read(bad, model=feature, question="")
    lists = sum(isinstance(value, list) for value in good.values())
    assert result == Result(**{**vars_of(found), "dropped": 2 * lists})


def test_rekognition_numbers_are_parsed_from_text() -> None:
    label = {"Name": "Sea", "Confidence": "98.5", "Instances": None}
    result = get("rekognition").read({"Labels": [label]}, model="labels", question="")
    assert result.labels[0].confidence == 0.985


def vars_of(result: Result) -> dict[str, Any]:
    return {name: getattr(result, name) for name in Result.__dataclass_fields__}


def _asks(feature: str, operation: str) -> bool:
    return FEATURES[feature].operation.replace("_", "") == operation.lower()


# -- Arbitrary answers -----------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["caption", "labels", "objects", "text", "safety", "name", "box", "confidence", "x1", "y"]
            )
            | st.text(max_size=4),
            inner,
            max_size=5,
        )
    ),
    max_leaves=30,
)
REKOGNITION_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            [
                "Name", "Confidence", "Labels", "Instances", "BoundingBox", "Left", "Top", "Width", "Height",
                "Geometry", "Type", "Persons", "BodyParts", "EquipmentDetections", "CustomLabels", "Face",
                "FaceDetails", "CelebrityFaces", "UnrecognizedFaces", "TextDetections", "ModerationLabels",
            ]
        ),
        inner,
        max_size=6,
    ),
    max_leaves=40,
)  # fmt: skip
GOOD = [{"name": "Gull", "confidence": 0.5, "box": [10, 20, 100, 200]}]


@given(JSON)
def test_any_output_is_parsed_or_reported_as_malformed(output: Any) -> None:
    with suppress(MalformedOutput):
        _in_order(read(output))


@given(JSON)
def test_any_answer_of_the_service_is_parsed_or_reported(answer: Any) -> None:
    raw = answer if isinstance(answer, dict) else {"output": answer}
    for question in ("", "What is it?"):
        with suppress(ProviderError):
            _in_order(get("nova").read(raw, model="nova", question=question))


@given(REKOGNITION_JSON, st.sampled_from(sorted(FEATURES)))
def test_any_answer_of_rekognition_is_parsed_or_reported(answer: Any, feature: str) -> None:
    raw = answer if isinstance(answer, dict) else {"Labels": answer, "Persons": answer}
    with suppress(MalformedOutput):
        _in_order(get("rekognition").read(raw, model=feature, question=""))


@given(st.lists(JSON, max_size=5), st.lists(JSON, max_size=5), JSON)
def test_a_readable_entry_is_never_lost(before: list[Any], after: list[Any], others: Any) -> None:
    output = {"labels": others, "objects": [*before, *GOOD, *after], "caption": others}
    assert [found for found in read(output).objects if found.name == "Gull" and found.box == BOX]


@given(st.text())
def test_any_text_is_parsed_or_reported_as_malformed(text: str) -> None:
    with suppress(MalformedOutput):
        _in_order(read_text(text))


@given(st.lists(st.floats() | st.integers() | st.text(max_size=5), min_size=4, max_size=4))
def test_boxes_are_within_the_picture(corners: list[Any]) -> None:
    for make in (lambda: box_of(corners, scale=1000), lambda: box_of_ratios(*corners)):
        with suppress(Unreadable):
            _within(make())


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_and_their_text_are_equivalent(number: float) -> None:
    assert number_of(repr(number)) == number


def _in_order(result: Result) -> None:
    """Assert that the result can be stored, searched and drawn."""
    stored = json.dumps(result.as_json(), allow_nan=False)
    assert "\\u0000" not in stored
    assert result.search_text is not None
    for found in [*result.labels, *result.objects, *result.text, *result.safety]:
        assert found.name
        assert found.confidence is None or 0 <= found.confidence <= 1
        if found.box is not None:
            _within(found.box)


def _within(box: Box) -> None:
    assert 0 <= box.left < 1
    assert 0 <= box.top < 1
    assert box.width > 0
    assert box.height > 0
    assert box.left + box.width <= 1 + 1e-9
    assert box.top + box.height <= 1 + 1e-9


# -- Deep nesting ----------------------------------------------------------------------------------


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("depth", [50, 400, 900, 100_000])
@pytest.mark.parametrize("place", ["box", "list", "string", "around"])
def test_a_deeply_nested_answer_crashes_nothing(
    nova: Service, keep: Keep, admin_client: Client, depth: int, place: str
) -> None:
    """At any depth it is stored, parsed, shown and listed, and the readable parts are kept."""
    deep = nested(depth)
    body = {
        "box": f'{{"caption": "A sea", "objects": [{{"name": "Tower", "box": {deep}}}]}}',
        "list": f'{{"caption": "A sea", "labels": {deep}}}',
        "string": json.dumps({"caption": "A sea", "labels": deep}),
        "around": deep,
    }[place]
    answer = json.dumps(model_answers.tool_answer("OUTPUT")).replace('"OUTPUT"', body)
    nova.answer = lambda asked: answer.encode()
    result = AnalysisService().analyze(keep())
    row = Analysis.objects.get()
    assert row.status in ("done", "failed")
    assert row.cost
    assert row.raw
    assert (place == "around") == (result.error is not None) or depth > 900
    url = reverse("admin:analysis_analysis_change", args=[row.pk])
    assert admin_client.get(url).status_code == 200
    assert admin_client.get(reverse("admin:analysis_analysis_changelist")).status_code == 200
    assert admin_client.get(f"/api/files/{row.file_id}/analyses").status_code == 200

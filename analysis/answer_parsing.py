"""Parse untrusted answers tolerantly: keep everything readable, count what is dropped.

An answer is paid for, so one odd value must not discard the rest. Models write numbers as text, percentages
instead of ratios, boxes as lists, lists as JSON in a string, and JSON in the middle of prose.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from analysis.results import LONGEST_TEXT, MOST_ENTRIES, Box, plain_text

T = TypeVar("T")

_PERCENT: Final = 100
# Up to here a number above 1 is floating-point noise, not a percentage.
_NOISE: Final = 1.001
# How far a corner may be outside the picture, as a fraction of the scale; beyond it the box is unreadable.
_OUTSIDE: Final = 0.1
# Longer strings are not numbers.
_LONGEST_NUMBER: Final = 32
# Larger numbers are not text shown in a picture.
_LARGEST: Final = 1 << 53
# How often a value is decoded: JSON in a string in a string.
_LAYERS: Final = 3
# Positions in a text that are tried as the start of an object.
_TRIES: Final = 50
_FENCE: Final = re.compile(r"```\w*\s*(.*?)```", re.DOTALL)

_CORNERS: Final = (
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("left", "top", "right", "bottom"),
)
_SIZES: Final = (("left", "top", "width", "height"), ("x", "y", "width", "height"), ("x", "y", "w", "h"))


class Unreadable(ValueError):
    """A value that cannot be parsed."""


@dataclass(slots=True)
class Reader:
    """Reads one answer.

    Attributes:
        dropped: number of unreadable entries, boxes and confidences that were left out.
    """

    dropped: int = 0

    def maybe(self, read: Callable[[Any], T], value: object) -> T | None:
        """Read an optional value; return None and count it if it is unreadable."""
        if value is None:
            return None
        try:
            return read(value)
        except Unreadable:
            self.dropped += 1
            return None

    def each(self, read: Callable[[Any], T], values: object) -> Iterator[T]:
        """Read the entries of an optional list one by one; skip and count the unreadable ones."""
        entries = self.maybe(_entries, values) or []
        self.dropped += max(0, len(entries) - MOST_ENTRIES)
        for entry in entries[:MOST_ENTRIES]:
            found = self.maybe(read, entry)
            if found is not None:
                yield found
            elif entry is None:
                self.dropped += 1

    def all_of(self, read: Callable[[Any], Iterable[T]], values: object) -> list[T]:
        """Read a list whose entries yield several items each, and return them flattened."""
        return [found for several in self.each(read, values) for found in several]


def text_of(value: object) -> str:
    """Return text or a number as non-empty text, without characters that databases cannot store.

    Raises:
        Unreadable: it is neither, or empty.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST:
        value = str(value)
    if not isinstance(value, str) or not (text := plain_text(value)[:LONGEST_TEXT].strip()):
        raise Unreadable
    return text


def number_of(value: object) -> float:
    """Return a finite number, which may be given as text.

    Raises:
        Unreadable: it is not a finite number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Unreadable
    if isinstance(value, str):
        value = value.strip().removesuffix("%")
        if len(value) > _LONGEST_NUMBER:
            raise Unreadable
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise Unreadable from None
    if not math.isfinite(number):
        raise Unreadable
    return number


def confidence_of(value: object) -> float:
    """Return a ratio from 0 to 1; numbers above 1 and those with a percent sign are percentages.

    Raises:
        Unreadable: it is not a number, or below 0 or above 100.
    """
    number = number_of(value)
    if number > _NOISE or (isinstance(value, str) and "%" in value):
        return percent_of(value)
    if number < 0:
        raise Unreadable
    return min(1.0, number)


def percent_of(value: object) -> float:
    """Convert a percentage to a ratio from 0 to 1.

    Raises:
        Unreadable: it is not a number, or below 0 or above 100.
    """
    number = number_of(value)
    if not 0 <= number <= _PERCENT * _NOISE:
        raise Unreadable
    return round(min(1.0, number / _PERCENT), 6)


def object_of(value: object) -> Mapping[str, Any]:
    """Return an object, which may be JSON in a string, surrounded by prose or in a code fence.

    Raises:
        Unreadable: there is no object.
    """
    for _ in range(_LAYERS):
        if isinstance(value, Mapping):
            return value
        if not isinstance(value, str):
            break
        value = _json_in(value)
    raise Unreadable


def box_of(value: object, *, scale: float) -> Box:
    """Return a box given by two corners, or by a corner and a size, as a list or an object.

    Numbers are ratios from 0 to 1 or on a scale from 0 to ``scale``; their magnitude decides which.

    Raises:
        Unreadable: it is not a box, is outside the picture, or has no area.
    """
    corners = [number_of(number) for number in _corners(value)]
    if not _are_ratios(corners):
        corners = [corner / scale for corner in corners]
        if not all(-_OUTSIDE <= corner <= 1 + _OUTSIDE for corner in corners):
            raise Unreadable
    x1, y1, x2, y2 = corners
    return _box(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))


def box_of_ratios(left: object, top: object, width: object, height: object) -> Box:
    """Return a box given as ratios, clipped to the picture.

    Raises:
        Unreadable: a value is not a number, or the box has no area within the picture.
    """
    x, y, w, h = (number_of(value) for value in (left, top, width, height))
    return _box(x, y, x + w, y + h)


def _entries(value: object) -> list[Any]:
    if isinstance(value, str):
        value = _json_in(value, begins="[{") if value.strip() else []
    if isinstance(value, Mapping):
        return [value]
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise Unreadable
    return list(value)


def _json_in(text: str, *, begins: str = "{") -> object:
    """Return the JSON in a text: the whole text, a code fence, or the first part that parses."""
    whole = _FENCE.search(text)
    for candidate in (text, whole[1] if whole else ""):
        try:
            return json.loads(candidate)
        except (ValueError, RecursionError):
            continue
    decoder = json.JSONDecoder()
    starts = [found.start() for found in re.finditer(f"[{re.escape(begins)}]", text)]
    for start in starts[:_TRIES]:
        try:
            return decoder.raw_decode(text, start)[0]
        except (ValueError, RecursionError):
            continue
    raise Unreadable


def _corners(value: object) -> Sequence[object]:
    for _ in range(_LAYERS):
        if isinstance(value, str):
            value = _json_in(value, begins="[{")
        elif isinstance(value, Mapping) and "box" in value:
            value = value["box"]
    if isinstance(value, Mapping):
        return _corners_of_object(value)
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise Unreadable
    if len(value) == 2 and all(isinstance(point, Sequence) for point in value):
        value = [number for point in value for number in point]
    if len(value) != 4:
        raise Unreadable
    return value


def _corners_of_object(value: Mapping[str, Any]) -> Sequence[object]:
    given = {str(key).lower(): number for key, number in value.items()}
    for keys in _CORNERS:
        if all(key in given for key in keys):
            return [given[key] for key in keys]
    for keys in _SIZES:
        if all(key in given for key in keys):
            left, top, width, height = (number_of(given[key]) for key in keys)
            return [left, top, left + width, top + height]
    raise Unreadable


def _are_ratios(numbers: Sequence[float]) -> bool:
    """Return whether the corners are ratios: no model sees a box that is a thousandth of the picture wide."""
    largest = max(abs(number) for number in numbers)
    return largest <= 1 or (largest <= 1 + _OUTSIDE and any(number != int(number) for number in numbers))


def _box(left: float, top: float, right: float, bottom: float) -> Box:
    left, top, right, bottom = (round(min(1.0, max(0.0, edge)), 5) for edge in (left, top, right, bottom))
    if right <= left or bottom <= top:
        raise Unreadable
    return Box(left, top, round(right - left, 5), round(bottom - top, 5))

"""Read untrusted answers tolerantly: keep everything that can be understood, count what is left out.

An answer is paid for, so one odd value must not cost the rest of it. Models write numbers as text, percents
for ratios, boxes as lists, lists as JSON in a string, and JSON between words.
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
# Noise of floating point numbers above 1 that is no percentage.
_NOISE: Final = 1.001
# How far a corner may lie outside the picture, in shares of the scale, before the box means something else.
_OUTSIDE: Final = 0.1
# More characters than a number has.
_LONGEST_NUMBER: Final = 32
# Numbers above are not text that a picture shows.
_LARGEST: Final = 1 << 53
# JSON in a string in a string: how often a value is decoded.
_LAYERS: Final = 3
# Places in a text at which an object may begin.
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
    """A value from which nothing can be taken."""


@dataclass(slots=True)
class Reader:
    """Reads one answer.

    Attributes:
        dropped: entries, and boxes or confidences of entries, that were left out as unreadable.
    """

    dropped: int = 0

    def maybe(self, read: Callable[[Any], T], value: object) -> T | None:
        """Read a value that may be missing; return None, and count it, if it cannot be read."""
        if value is None:
            return None
        try:
            return read(value)
        except Unreadable:
            self.dropped += 1
            return None

    def each(self, read: Callable[[Any], T], values: object) -> Iterator[T]:
        """Read the entries of a list that may be missing, each by itself."""
        entries = self.maybe(_entries, values) or []
        self.dropped += max(0, len(entries) - MOST_ENTRIES)
        for entry in entries[:MOST_ENTRIES]:
            found = self.maybe(read, entry)
            if found is not None:
                yield found
            elif entry is None:
                self.dropped += 1

    def all_of(self, read: Callable[[Any], Iterable[T]], values: object) -> list[T]:
        """Read a list whose entries stand for several things each."""
        return [found for several in self.each(read, values) for found in several]


def text_of(value: object) -> str:
    """Return text or a number as text, without what no database keeps; it is not empty.

    Raises:
        Unreadable: it is neither.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST:
        value = str(value)
    if not isinstance(value, str) or not (text := plain_text(value)[:LONGEST_TEXT].strip()):
        raise Unreadable
    return text


def number_of(value: object) -> float:
    """Return a finite number, which may be written as text.

    Raises:
        Unreadable: it is none.
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
    """Return a ratio of 0 to 1; numbers above 1 and those with a percent sign are percents.

    Raises:
        Unreadable: it is no number, or below 0 or above 100.
    """
    number = number_of(value)
    if number > _NOISE or (isinstance(value, str) and "%" in value):
        return percent_of(value)
    if number < 0:
        raise Unreadable
    return min(1.0, number)


def percent_of(value: object) -> float:
    """Return percents as a ratio of 0 to 1.

    Raises:
        Unreadable: it is no number, or below 0 or above 100.
    """
    number = number_of(value)
    if not 0 <= number <= _PERCENT * _NOISE:
        raise Unreadable
    return round(min(1.0, number / _PERCENT), 6)


def object_of(value: object) -> Mapping[str, Any]:
    """Return an object, which may be written as JSON in a string, also between words or in a code fence.

    Raises:
        Unreadable: there is none.
    """
    for _ in range(_LAYERS):
        if isinstance(value, Mapping):
            return value
        if not isinstance(value, str):
            break
        value = _json_in(value)
    raise Unreadable


def box_of(value: object, *, scale: float) -> Box:
    """Return a box that is given by its corners or its size, as a list or an object.

    Numbers are ratios of 0 to 1, or on a scale of 0 to ``scale``: which of the two is told by their size.

    Raises:
        Unreadable: it is no box, lies outside the picture, or has no area.
    """
    corners = [number_of(number) for number in _corners(value)]
    if not _are_ratios(corners):
        corners = [corner / scale for corner in corners]
        if not all(-_OUTSIDE <= corner <= 1 + _OUTSIDE for corner in corners):
            raise Unreadable
    x1, y1, x2, y2 = corners
    return _box(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))


def box_of_ratios(left: object, top: object, width: object, height: object) -> Box:
    """Return a box of ratios; what reaches over the picture's edge is cut off.

    Raises:
        Unreadable: they are no numbers, or the box has no area in the picture.
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
    """Return the JSON in a text: the whole of it, that in a code fence, or the first that parses."""
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
    """Whether they are ratios: a box of a thousandth's width is none that a model sees."""
    largest = max(abs(number) for number in numbers)
    return largest <= 1 or (largest <= 1 + _OUTSIDE and any(number != int(number) for number in numbers))


def _box(left: float, top: float, right: float, bottom: float) -> Box:
    left, top, right, bottom = (round(min(1.0, max(0.0, edge)), 5) for edge in (left, top, right, bottom))
    if right <= left or bottom <= top:
        raise Unreadable
    return Box(left, top, round(right - left, 5), round(bottom - top, 5))

"""What an analysis says of a picture: one schema for all providers, with a version.

Whatever comes from a model is untrusted: it is measured here before it is kept, and is text, never markup,
wherever it is shown. Boxes are ratios (0 to 1) of the upright original, from its upper left corner. What is
sent always stands upright and has the original's shape, so the ratios of the one are those of the other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from analysis.errors import MalformedOutput

VERSION: Final = 1

# More than any picture has, and little enough for one row.
_MOST_ENTRIES: Final = 1000
_LONGEST_NAME: Final = 255
_LONGEST_TEXT: Final = 20_000
# Characters that files are found by: PostgreSQL takes no more than a megabyte of words.
_LONGEST_SEARCHED: Final = 200_000
# PostgreSQL keeps neither NUL nor halves of surrogate pairs; the other control characters show as nothing.
_UNKEPT: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle, as ratios of the upright original's width and height."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that was found.

    Attributes:
        name: what it is, or the text that it reads.
        confidence: 0 to 1; None where the provider gives none.
        box: where; None where the provider does not say.
    """

    name: str
    confidence: float | None = None
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The answer.

    Attributes:
        caption: one or two sentences.
        answer: to a free question.
        labels: what the picture shows.
        text: what can be read in it.
        objects: things and persons, with their boxes.
        safety: what somebody may not want to see.
    """

    caption: str = ""
    answer: str = ""
    labels: list[Found] = field(default_factory=list)
    text: list[Found] = field(default_factory=list)
    objects: list[Found] = field(default_factory=list)
    safety: list[Found] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The result as it is kept, with the version of its schema."""
        return {"version": VERSION, **asdict(self)}

    @property
    def names(self) -> dict[str, float | None]:
        """Each label and object once, in lower case, with its highest confidence."""
        names: dict[str, float | None] = {}
        for found in [*self.labels, *self.objects]:
            name = found.name.casefold()[:_LONGEST_NAME]
            names[name] = max(names.get(name) or 0.0, found.confidence or 0.0) or None
        return names

    @property
    def search_text(self) -> str:
        """All the words, for the search of files."""
        found = [*self.labels, *self.objects, *self.text, *self.safety]
        said = "\n".join(filter(None, [self.caption, self.answer, *(each.name for each in found)]))
        return said[:_LONGEST_SEARCHED]


# -- Reading what came -----------------------------------------------------------------------------


def text_of(value: object, what: str, *, longest: int = _LONGEST_TEXT) -> str:
    """Untrusted text, without what no database keeps.

    Raises:
        MalformedOutput: it is no text.
    """
    if not isinstance(value, str):
        raise MalformedOutput(f"The model's {what} is {_kind(value)} where text was asked for.")
    return _UNKEPT.sub("", value)[:longest].strip()


def entries_of(value: object, what: str) -> list[Any]:
    """An untrusted list.

    Raises:
        MalformedOutput: it is no list, or longer than anything that a picture shows.
    """
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise MalformedOutput(f"The model's {what} is {_kind(value)} where a list was asked for.")
    if len(value) > _MOST_ENTRIES:
        raise MalformedOutput(f"The model's {what} has {len(value):,} entries; {_MOST_ENTRIES:,} are taken.")
    return list(value)


def mapping_of(value: object, what: str) -> Mapping[str, Any]:
    """An untrusted object.

    Raises:
        MalformedOutput: it is none.
    """
    if not isinstance(value, Mapping):
        raise MalformedOutput(f"The model's {what} is {_kind(value)} where an object was asked for.")
    return value


def ratio_of(value: object, what: str, *, scale: float = 1.0) -> float:
    """An untrusted number of 0 to ``scale`` as a ratio; one that is a little outside is brought in.

    Raises:
        MalformedOutput: it is no finite number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MalformedOutput(f"The model's {what} is {_kind(value)} where a number was asked for.")
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise MalformedOutput(f"The model's {what} is no number that a picture has.")
    return min(1.0, max(0.0, number / scale))


def box_of_corners(corners: Sequence[object], what: str, *, scale: float) -> Box | None:
    """A box of x1, y1, x2, y2 on a scale of 0 to ``scale``; None for one without an area.

    Raises:
        MalformedOutput: they are not four numbers.
    """
    if len(corners) != 4:
        raise MalformedOutput(f"The model's {what} has {len(corners)} numbers where 4 were asked for.")
    x1, y1, x2, y2 = (ratio_of(corner, what, scale=scale) for corner in corners)
    return _box(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))


def box_of_ratios(left: object, top: object, width: object, height: object, what: str) -> Box | None:
    """A box of ratios; what reaches over the picture's edge is cut off. None for one without an area."""
    for value in (left, top, width, height):
        ratio_of(value, what)
    x, y, w, h = (float(value) for value in (left, top, width, height))  # type: ignore[arg-type]
    return _box(max(0.0, x), max(0.0, y), min(1.0, x + w), min(1.0, y + h))


def kept(value: Any) -> Any:
    """A raw answer as a database takes it: no NUL, no half surrogates, no number that is none."""
    if isinstance(value, str):
        return _UNKEPT.sub("", value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_UNKEPT.sub("", str(key)): kept(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [kept(each) for each in value]
    return value if isinstance(value, int | bool | None) else str(value)


def _box(left: float, top: float, right: float, bottom: float) -> Box | None:
    if right <= left or bottom <= top:
        return None
    return Box(round(left, 5), round(top, 5), round(right - left, 5), round(bottom - top, 5))


def _kind(value: object) -> str:
    return "missing" if value is None else f"of the type {type(value).__name__}"

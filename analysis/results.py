"""The result of an analysis: one versioned schema for all providers.

Model output is untrusted: `analysis.answer_parsing` validates it before it is stored, and pages show it as
text, never as markup. Boxes are ratios (0 to 1) of the upright original, from its upper left corner. The
image sent is upright and has the original's aspect ratio, so its ratios are valid for the original.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

VERSION: Final = 1

# More than any picture needs, and few enough for one row.
MOST_ENTRIES: Final = 1000
_LONGEST_NAME: Final = 255
LONGEST_TEXT: Final = 20_000
# Limits of a raw answer: nesting levels, values, characters. The longest answers of current models reach a
# tenth of them.
_DEEPEST: Final = 40
_MOST_VALUES: Final = 200_000
_MOST_CHARACTERS: Final = 2_000_000
LEFT_OUT: Final = f"(left out: nested deeper than {_DEEPEST} levels)"
# The range of PostgreSQL's bigint, far above any count.
_LARGEST_INTEGER: Final = 1 << 63
# Maximum length of the search text, in characters: PostgreSQL limits a text search vector to 1 MB.
_LONGEST_SEARCHED: Final = 200_000
# PostgreSQL stores neither NUL nor lone surrogates; the other control characters are invisible.
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
    """One label, object or line of text.

    Attributes:
        name: its name, or the text itself.
        confidence: 0 to 1; None if the provider gives none.
        box: its location; None if the provider gives none.
    """

    name: str
    confidence: float | None = None
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """A parsed answer.

    Attributes:
        caption: one or two sentences.
        answer: the answer to a free question.
        labels: what the picture shows.
        text: text in the picture.
        objects: things and people, with their boxes.
        safety: sensitive content.
        dropped: number of unreadable entries, boxes and confidences that were left out.
    """

    caption: str = ""
    answer: str = ""
    labels: list[Found] = field(default_factory=list)
    text: list[Found] = field(default_factory=list)
    objects: list[Found] = field(default_factory=list)
    safety: list[Found] = field(default_factory=list)
    dropped: int = 0

    @property
    def is_empty(self) -> bool:
        """Return whether there is neither text nor any entry."""
        return not any((self.caption, self.answer, self.labels, self.text, self.objects, self.safety))

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Result:
        """Return the result that `as_json` stored."""

        def found(kind: str) -> list[Found]:
            return [
                Found(each["name"], each.get("confidence"), Box(**each["box"]) if each.get("box") else None)
                for each in stored.get(kind, [])
            ]

        return cls(
            caption=stored.get("caption", ""),
            answer=stored.get("answer", ""),
            labels=found("labels"),
            text=found("text"),
            objects=found("objects"),
            safety=found("safety"),
            dropped=stored.get("dropped", 0),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the result as stored, with the schema version."""
        return {"version": VERSION, **asdict(self)}

    @property
    def names(self) -> dict[str, float | None]:
        """Return each label and object once, in lower case, with its highest confidence."""
        names: dict[str, float | None] = {}
        for found in [*self.labels, *self.objects]:
            name = found.name.casefold()[:_LONGEST_NAME]
            names[name] = max(names.get(name) or 0.0, found.confidence or 0.0) or None
        return names

    @property
    def search_text(self) -> str:
        """Return all text of the result, for searching files."""
        found = [*self.labels, *self.objects, *self.text, *self.safety]
        said = "\n".join(filter(None, [self.caption, self.answer, *(each.name for each in found)]))
        return said[:_LONGEST_SEARCHED]


# -- Storing raw answers ---------------------------------------------------------------------------


def plain_text(text: str) -> str:
    """Return the text without characters that databases cannot store."""
    return _UNKEPT.sub("", text)


def kept(value: Any) -> Any:
    """Return a raw answer in a form that every database can store and every page can show.

    It has no NUL, no lone surrogates and no NaN or infinity. Nesting, values and characters are limited,
    because unlimited nesting would crash a process that stores, reads or renders it.
    """
    return _Keeper().keep(value, _DEEPEST)


@dataclass(slots=True)
class _Keeper:
    """Copies a value up to the remaining number of values and characters."""

    values: int = _MOST_VALUES
    characters: int = _MOST_CHARACTERS

    def keep(self, value: Any, depth: int) -> Any:
        self.values -= 1
        if isinstance(value, Mapping | list | tuple):
            return self._container(value, depth)
        if isinstance(value, int | float):
            return _number(value)
        return None if value is None else self._text(str(value))

    def _container(self, value: Mapping[Any, Any] | Sequence[Any], depth: int) -> Any:
        if depth == 0:
            return LEFT_OUT
        if isinstance(value, Mapping):
            return {
                self._text(str(key)): self.keep(each, depth - 1)
                for key, each in value.items()
                if self.values > 0
            }
        return [self.keep(each, depth - 1) for each in value if self.values > 0]

    def _text(self, text: str) -> str:
        short = plain_text(text[: max(0, self.characters)])
        self.characters -= len(short)
        return short


def _number(value: float) -> float | None:
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) < _LARGEST_INTEGER):
        return value
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer of hundreds of digits
        return None

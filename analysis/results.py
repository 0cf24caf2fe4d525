"""What an analysis says of a picture: one schema for all providers, with a version.

Everything a model says is untrusted: `analysis.answer_parsing` checks it before it is stored, and pages show
it as text, never as markup. Boxes are ratios (0 to 1) of the upright original, from its upper left
corner. What is sent is upright and has the original's shape, so its ratios are those of the original.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

VERSION: Final = 1

# More than any picture has, and little enough for one row.
MOST_ENTRIES: Final = 1000
_LONGEST_NAME: Final = 255
LONGEST_TEXT: Final = 20_000
# Of a raw answer: levels of nesting, values, characters. The longest answers of today's models have a tenth.
_DEEPEST: Final = 40
_MOST_VALUES: Final = 200_000
_MOST_CHARACTERS: Final = 2_000_000
LEFT_OUT: Final = f"(left out: nested deeper than {_DEEPEST} levels)"
# Of PostgreSQL's bigint, which is far above every count.
_LARGEST_INTEGER: Final = 1 << 63
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
        dropped: entries, and boxes or confidences of entries, that could not be read and were left out.
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
        """Whether nothing was found or said."""
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


# -- Keeping what came -----------------------------------------------------------------------------


def plain_text(text: str) -> str:
    """Return the text without the characters that no database keeps."""
    return _UNKEPT.sub("", text)


def kept(value: Any) -> Any:
    """Return a raw answer in a form that every database keeps and every page shows.

    No NUL, no half surrogates, no number that is none; nesting, values and characters are bounded, because
    what is nested without end ends the process that stores, reads or renders it.
    """
    return _Keeper().keep(value, _DEEPEST)


@dataclass(slots=True)
class _Keeper:
    """Copies a value as long as there is room."""

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

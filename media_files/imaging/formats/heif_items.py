"""The items of a HEIF or AVIF file: which of them are shown, their properties, and where their bytes are.

Sources: ISO/IEC 14496-12:2022, section 8.11; ISO/IEC 23008-12:2022, sections 6 and 9.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final

MAX_META: Final = 8 << 20
"""Bytes of the largest ``meta`` box that is read. One of a thousand tiles takes some 60 KB."""

_MAX_BOXES: Final = 100_000
_LONGEST_CHAIN: Final = 8
"""Derivations from derivations: a picture of a grid of rotated tiles is three long."""

_HEAD: Final = 8
_FULL: Final = 4
"""Version and flags, with which a full box begins."""


class ItemsError(ValueError):
    """The items cannot be read: the file is damaged, or uses a structure that is not known here."""


@dataclass(frozen=True, slots=True)
class Item:
    """An item: a coded picture, a tile, or a recipe of how to combine others.

    Attributes:
        number: its id.
        type: four letters, such as ``hvc1``, ``av01`` or ``grid``.
        properties: type and content of its properties, in their order.
        extents: offset and size of its parts in the file, in bytes; empty if they are not in the file.
    """

    number: int
    type: bytes
    properties: tuple[tuple[bytes, bytes], ...] = ()
    extents: tuple[tuple[int, int], ...] = ()

    def first(self, kind: bytes) -> bytes | None:
        """Return the content of the first property of a type, or None."""
        return next((data for found, data in self.properties if found == kind), None)


@dataclass(slots=True)
class Items:
    """All items of a file.

    Attributes:
        primary: the id of the picture that is shown.
        by_number: the items.
        references: ids that an item refers to, by the reference's type and the item's id.
    """

    primary: int = 0
    by_number: dict[int, Item] = field(default_factory=dict)
    references: dict[tuple[bytes, int], list[int]] = field(default_factory=dict)

    def shown(self) -> list[Item]:
        """Return the primary item, all from which it is derived, and the alpha channels of each."""
        found: dict[int, Item] = {}
        level = {self.primary}
        for _ in range(_LONGEST_CHAIN):
            level = {number for number in level if number in self.by_number and number not in found}
            if not level:
                break
            found.update((number, self.by_number[number]) for number in sorted(level))
            inner = {to for number in level for to in self.references.get((b"dimg", number), ())}
            level = inner | {
                number
                for (kind, number), targets in self.references.items()
                if kind == b"auxl" and level.intersection(targets) and self._is_alpha(number)
            }
        return list(found.values())

    def _is_alpha(self, number: int) -> bool:
        item = self.by_number.get(number)
        described = item.first(b"auxC") if item is not None else None
        return described is not None and described[_FULL:].partition(b"\x00")[0] in _ALPHA


_ALPHA: Final = frozenset({b"urn:mpeg:hevc:2015:auxid:1", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha"})


def read_items(stream: BinaryIO) -> Items:
    """Read the items of a file, without the bytes of their pictures.

    Raises:
        ItemsError: the file is damaged, or uses a structure that is not known here.
    """
    try:
        return _read_meta(*_find_meta(stream))
    except (struct.error, IndexError) as error:
        raise ItemsError("a box of it ends early") from error


def _find_meta(stream: BinaryIO) -> tuple[bytes, int]:
    """Return the content of the ``meta`` box and its offset in the file."""
    at = 0
    for _ in range(_MAX_BOXES):
        stream.seek(at)
        head = stream.read(2 * _HEAD)
        if len(head) < _HEAD:
            break
        size, start = int.from_bytes(head[:4], "big"), at + _HEAD
        if size == 1:
            size, start = int.from_bytes(head[_HEAD:], "big"), at + 2 * _HEAD
        if head[4:8] == b"meta" and size <= MAX_META:
            stream.seek(start)
            # A size of zero means up to the end of the file.
            return stream.read(at + size - start if size else MAX_META), start
        if size < start - at:
            break
        at += size
    raise ItemsError("it has no list of its items")


def _boxes(data: bytes, at: int, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Yield the type, start and end of the content of each box in ``data``."""
    end = len(data) if end is None else end
    for _ in range(_MAX_BOXES):
        if at + _HEAD > end:
            return
        size, kind, start = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], at + _HEAD
        if size == 1:
            size, start = int.from_bytes(data[start : start + 8], "big"), start + 8
        stop = at + size if size else end
        if stop < start or stop > end:
            raise ItemsError("a box of it is larger than the box around it")
        yield kind, start, stop
        at = stop


def _read_meta(data: bytes, offset: int) -> Items:
    items = Items()
    found = {kind: data[start:stop] for kind, start, stop in _boxes(data, _FULL)}
    inside = next((offset + start for kind, start, _ in _boxes(data, _FULL) if kind == b"idat"), None)
    if b"pitm" not in found or b"iinf" not in found:
        raise ItemsError("it does not say which picture it shows")
    pitm = found[b"pitm"]
    items.primary = int.from_bytes(pitm[_FULL : _FULL + (4 if pitm[0] else 2)], "big")
    properties = _read_properties(found.get(b"iprp", b""))
    extents = _read_locations(found.get(b"iloc", b""), inside)
    for number, kind in _read_types(found[b"iinf"]):
        items.by_number[number] = Item(
            number, kind, tuple(properties.get(number, ())), tuple(extents.get(number, ()))
        )
    items.references = _read_references(found.get(b"iref", b""))
    return items


def _read_types(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the id and type of each item. Ids have two bytes in version 2, four in version 3."""
    for kind, start, _ in _boxes(data, _FULL + (4 if data[0] else 2)):
        version = data[start]
        if kind == b"infe" and version in (2, 3):
            at = start + _FULL
            wide = 4 if version == 3 else 2
            # A protection index of two bytes stands between them.
            yield int.from_bytes(data[at : at + wide], "big"), data[at + wide + 2 : at + wide + 6]


def _read_references(data: bytes) -> dict[tuple[bytes, int], list[int]]:
    found: dict[tuple[bytes, int], list[int]] = {}
    if not data:
        return found
    wide = 4 if data[0] else 2
    for kind, start, stop in _boxes(data, _FULL):
        origin, count = int.from_bytes(data[start : start + wide], "big"), start + wide
        targets = range(count + 2, stop - wide + 1, wide)
        numbers = [int.from_bytes(data[at : at + wide], "big") for at in targets]
        found.setdefault((kind, origin), []).extend(numbers)
    return found


def _read_properties(data: bytes) -> dict[int, list[tuple[bytes, bytes]]]:
    """Return the properties of each item, from ``ipco`` (the properties) and ``ipma`` (whose they are)."""
    defined: list[tuple[bytes, bytes]] = []
    found: dict[int, list[tuple[bytes, bytes]]] = {}
    for kind, start, stop in _boxes(data, 0):
        if kind == b"ipco":
            defined = [(inner, data[at:end]) for inner, at, end in _boxes(data, start, stop)]
        elif kind == b"ipma":
            for number, index in _associations(data[start:stop]):
                if 0 < index <= len(defined):
                    found.setdefault(number, []).append(defined[index - 1])
    return found


def _associations(data: bytes) -> Iterator[tuple[int, int]]:
    version, long_index = data[0], data[3] & 1
    (count,) = struct.unpack_from(">I", data, _FULL)
    at = _FULL + 4
    wide, index_wide = 4 if version else 2, 2 if long_index else 1
    for _ in range(count):
        number, many = int.from_bytes(data[at : at + wide], "big"), data[at + wide]
        at += wide + 1
        for _ in range(many):
            index = int.from_bytes(data[at : at + index_wide], "big")
            at += index_wide
            # The first bit marks properties that a reader must understand.
            yield number, index & ((1 << (8 * index_wide - 1)) - 1)


class _Numbers:
    """Reads numbers of the sizes that ``iloc`` chooses for each of its fields."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at

    def take(self, size: int) -> int:
        end = self._at + size
        if end > len(self._data):
            raise ItemsError("its list of places ends early")
        value = int.from_bytes(self._data[self._at : end], "big")
        self._at = end
        return value


def _read_locations(data: bytes, inside: int | None) -> dict[int, list[tuple[int, int]]]:
    """Return the extents of each item in the file.

    Args:
        data: the content of ``iloc``.
        inside: where the content of ``idat`` begins in the file.
    """
    found: dict[int, list[tuple[int, int]]] = {}
    if not data:
        return found
    version = data[0]
    offset_size, length_size, base_size = data[4] >> 4, data[4] & 15, data[5] >> 4
    index_size = data[5] & 15 if version else 0
    wide = 4 if version > 1 else 2
    numbers = _Numbers(data, 6)
    for _ in range(numbers.take(wide)):
        number = numbers.take(wide)
        method = numbers.take(2) & 15 if version else 0
        numbers.take(2)  # the file that holds the item: this one
        base = numbers.take(base_size)
        start = {0: 0, 1: inside}.get(method)
        for _ in range(numbers.take(2)):
            numbers.take(index_size)
            offset, length = numbers.take(offset_size), numbers.take(length_size)
            if start is not None:
                found.setdefault(number, []).append((start + base + offset, length))
    return found

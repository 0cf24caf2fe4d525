"""A bounded reader of TIFF directories, for TIFF files and for EXIF and MPF blocks, which share the format.

It reads no pixels and unpacks only requested arrays, so that a file announcing millions of entries costs no
more than one with three. Sources: TIFF 6.0 section 2; the BigTIFF design; EXIF 2.32 section 4.6.2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, Literal

from media_files.imaging.formats.metered import spend

MAX_ENTRIES: Final = 4096
"""Most entries of a directory. Cameras write fewer than 100."""

MAX_VALUES: Final = 4096
"""Most values of an entry that are unpacked."""

_ORDERS: Final[dict[bytes, Literal["<", ">"]]] = {b"II": "<", b"MM": ">"}
_UNITS_PER_ENTRY: Final = 64
_CLASSIC: Final = 42
_BIG: Final = 43
_FORMATS: Final = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_BYTES: Final = frozenset({1, 2, 7})
_RATIONALS: Final = {5: "I", 10: "i"}
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4} | {
    16: 8,
    17: 8,
    18: 8,
}


class TiffError(ValueError):
    """The directories cannot be read: they are truncated, form a loop, or are not TIFF at all."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A tag: its field type, the number of its values, and their offset in the stream in bytes."""

    type: int
    count: int
    offset: int


@dataclass(frozen=True, slots=True)
class Directory:
    """The tags of one image, the offset of the next directory (0 for none), and the end of this one."""

    entries: dict[int, Entry]
    next: int
    end: int = 0


class TiffReader:
    """Read the directories of a TIFF structure that starts at ``base`` in ``stream``.

    Raises:
        TiffError: from every method, if the bytes contradict the structure.
    """

    def __init__(self, stream: BinaryIO, base: int = 0) -> None:
        self._stream = stream
        self._base = base
        head = self._read(0, 8)
        try:
            self._order = _ORDERS[head[:2]]
        except KeyError:
            raise TiffError(f"no byte order mark where TIFF has one: {head[:2]!r}") from None
        version = self._unpack("H", head[2:4])[0]
        if version not in (_CLASSIC, _BIG):
            raise TiffError(f"version {version} where TIFF has 42 or 43")
        self._big = version == _BIG
        self.first = self._unpack("Q", self._read(8, 8))[0] if self._big else self._unpack("I", head[4:8])[0]

    def _read(self, offset: int, size: int) -> bytes:
        try:
            self._stream.seek(self._base + offset)
        except (OSError, ValueError, OverflowError):
            raise TiffError(f"offset {offset} cannot be reached") from None
        data = self._stream.read(size)
        if len(data) != size:
            raise TiffError(f"{size} bytes promised at offset {offset}, {len(data)} present")
        return data

    def _unpack(self, codes: str, data: bytes) -> tuple[int, ...]:
        return struct.unpack(self._order + codes, data)

    def directory(self, offset: int) -> Directory:
        """Read the directory at ``offset`` bytes from the start of the structure."""
        head, size, inline = (8, 20, 8) if self._big else (2, 12, 4)
        count = self._unpack("Q" if self._big else "H", self._read(offset, head))[0]
        if not 0 < count <= MAX_ENTRIES:
            raise TiffError(f"a directory of {count} entries")
        spend(self._stream, count * _UNITS_PER_ENTRY)
        data = self._read(offset + head, count * size + inline)
        entries: dict[int, Entry] = {}
        for at in range(0, count * size, size):
            tag, kind, values = self._unpack("HHQ" if self._big else "HHI", data[at : at + size - inline])
            where = offset + head + at + size - inline
            if _SIZES.get(kind, 1) * values > inline:
                where = self._unpack("Q" if self._big else "I", data[at + size - inline : at + size])[0]
            entries.setdefault(tag, Entry(kind, values, where))
        following = self._unpack("Q" if self._big else "I", data[-inline:])[0]
        return Directory(entries, following, offset + head + len(data))

    def sub_directory(self, directory: Directory, tag: int) -> Directory:
        """Read the directory that an entry points to; an empty one if there is no such entry."""
        offset = self.integer(directory.entries.get(tag), 0)
        return self.directory(offset) if offset else Directory({}, 0)

    def end(self, directory: Directory) -> int:
        """Return where a directory ends, including the values of its entries."""
        entries = directory.entries.values()
        return max(
            directory.end, *(each.offset + _SIZES.get(each.type, 1) * each.count for each in entries), 0
        )

    def directories(self, most: int) -> Iterator[Directory]:
        """Yield the chain of directories, at most ``most`` of them. A loop is an error."""
        seen: set[int] = set()
        offset = self.first
        while offset and len(seen) < most:
            if offset in seen:
                raise TiffError("its directories form a loop")
            seen.add(offset)
            directory = self.directory(offset)
            yield directory
            offset = directory.next

    @property
    def order(self) -> Literal["<", ">"]:
        """``<`` or ``>``: the byte order, as `struct` writes it."""
        return self._order

    def integers(self, entry: Entry | None, most: int = MAX_VALUES) -> tuple[int, ...]:
        """Return up to ``most`` integers of an entry; none if it is missing or of another type."""
        if entry is None or entry.type not in _FORMATS:
            return ()
        count = min(entry.count, most)
        data = self._read(entry.offset, count * _SIZES[entry.type])
        return self._unpack(f"{count}{_FORMATS[entry.type]}", data)

    def integer(self, entry: Entry | None, default: int) -> int:
        """Return the first integer of an entry, or ``default``."""
        values = self.integers(entry)
        return values[0] if values else default

    def rationals(self, entry: Entry | None) -> tuple[tuple[int, int], ...]:
        """Return up to `MAX_VALUES` pairs of numerator and denominator; none if it is of another type."""
        if entry is None or entry.type not in _RATIONALS:
            return ()
        count = min(entry.count, MAX_VALUES)
        numbers = self._unpack(f"{count * 2}{_RATIONALS[entry.type]}", self._read(entry.offset, count * 8))
        return tuple(zip(numbers[::2], numbers[1::2], strict=True))

    def raw(self, entry: Entry | None, most: int) -> bytes:
        """Return at most ``most`` bytes of a byte or text entry; empty if it is of another type."""
        if entry is None or entry.type not in _BYTES:
            return b""
        return self._read(entry.offset, min(entry.count, most))

    def data(self, entry: Entry, most: int) -> bytes:
        """Return at most ``most`` bytes of an entry of any type."""
        return self._read(entry.offset, min(entry.count * _SIZES.get(entry.type, 1), most))

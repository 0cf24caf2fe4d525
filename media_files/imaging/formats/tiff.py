"""A bounded reader of TIFF directories, for TIFF files and the EXIF and MPF blocks that borrow their form.

It reads no pixel and unpacks no array it was not asked for, so that a file that promises millions of
entries costs no more than one that has three. Sources: TIFF 6.0 section 2; the BigTIFF design; EXIF 2.32
section 4.6.2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

MAX_ENTRIES: Final = 4096
"""Entries of one directory. Cameras write fewer than 100."""

MAX_VALUES: Final = 4096
"""Values of one entry that are unpacked."""

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
    """The directories cannot be read: truncated, looped, or not TIFF at all."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tag: its field type, the number of its values, and where they begin in the stream (bytes)."""

    type: int
    count: int
    offset: int


@dataclass(frozen=True, slots=True)
class Directory:
    """The tags of one image, the offset of the next directory (0 for none), and where this one ends."""

    entries: dict[int, Entry]
    next: int
    end: int = 0


class TiffReader:
    """Reads the directories of a TIFF structure that begins at ``base`` in ``stream``.

    Raises:
        TiffError: from every method, where the bytes are not what the structure promises.
    """

    def __init__(self, stream: BinaryIO, base: int = 0) -> None:
        self._stream = stream
        self._base = base
        head = self._read(0, 8)
        try:
            self._order = {b"II": "<", b"MM": ">"}[head[:2]]
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
        """The directory at ``offset`` bytes from the start of the structure."""
        head, size, inline = (8, 20, 8) if self._big else (2, 12, 4)
        count = self._unpack("Q" if self._big else "H", self._read(offset, head))[0]
        if not 0 < count <= MAX_ENTRIES:
            raise TiffError(f"a directory of {count} entries")
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
        """The directory that an entry points to; an empty one where there is no such entry."""
        offset = self.integer(directory.entries.get(tag), 0)
        return self.directory(offset) if offset else Directory({}, 0)

    def end(self, directory: Directory) -> int:
        """Return where the last of a directory's parts ends: itself, or a value of an entry."""
        entries = directory.entries.values()
        return max(
            directory.end, *(each.offset + _SIZES.get(each.type, 1) * each.count for each in entries), 0
        )

    def directories(self, most: int) -> Iterator[Directory]:
        """The chain of directories, at most ``most`` of them. A chain that bites its tail is an error."""
        seen: set[int] = set()
        offset = self.first
        while offset and len(seen) < most:
            if offset in seen:
                raise TiffError("its directories form a loop")
            seen.add(offset)
            directory = self.directory(offset)
            yield directory
            offset = directory.next

    def integers(self, entry: Entry | None) -> tuple[int, ...]:
        """Up to `MAX_VALUES` integers of an entry; empty for none, and for a type that holds no integers."""
        if entry is None or entry.type not in _FORMATS:
            return ()
        count = min(entry.count, MAX_VALUES)
        data = self._read(entry.offset, count * _SIZES[entry.type])
        return self._unpack(f"{count}{_FORMATS[entry.type]}", data)

    def integer(self, entry: Entry | None, default: int) -> int:
        """The first integer of an entry, or ``default``."""
        values = self.integers(entry)
        return values[0] if values else default

    def rationals(self, entry: Entry | None) -> tuple[tuple[int, int], ...]:
        """Up to `MAX_VALUES` pairs of numerator and denominator; empty for another type."""
        if entry is None or entry.type not in _RATIONALS:
            return ()
        count = min(entry.count, MAX_VALUES)
        numbers = self._unpack(f"{count * 2}{_RATIONALS[entry.type]}", self._read(entry.offset, count * 8))
        return tuple(zip(numbers[::2], numbers[1::2], strict=True))

    def raw(self, entry: Entry | None, most: int) -> bytes:
        """The bytes of an entry of bytes or text, at most ``most``; empty for another type."""
        if entry is None or entry.type not in _BYTES:
            return b""
        return self._read(entry.offset, min(entry.count, most))

    def data(self, entry: Entry, most: int) -> bytes:
        """Return the bytes of an entry of any type, at most ``most``."""
        return self._read(entry.offset, min(entry.count * _SIZES.get(entry.type, 1), most))

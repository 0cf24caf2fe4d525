"""The segments of a JPEG file, from its first byte to its last.

Sources: ITU-T T.81, annex B; JFIF 1.02; Adobe Technical Note 5116; ICC.1:2022, annex B.4; XMP part 3, 1.1.3.
"""

from __future__ import annotations

import re
from typing import BinaryIO, Final

from media_files.imaging.contents import profiles
from media_files.imaging.contents.found import MAX_BLOCKS, MAX_KEPT, Contents
from media_files.imaging.formats.jpeg import fill_bytes

_BLOCK: Final = 1 << 16
_OVERLAP: Final = 2
_MAX_SEARCHED: Final = 64 << 20
_MAX_PICTURES: Final = 16

_START: Final = b"\xff\xd8"
_NEXT_PICTURE: Final = re.compile(rb"\xff\xd8\xff")
_AFTER_SCAN: Final = re.compile(rb"\xff[\x01-\xcf\xd8-\xff]")

_FILL, _EOI, _SOS, _DQT, _DHT, _DRI = 0xFF, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD
_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2})
_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_JFIF_BYTES: Final = 14
_ADOBE_BYTES: Final = 12
_MOST_TABLES: Final = {_DQT: 4, _DHT: 8}
"""Tables that a decoder can hold at once. With more before a scan, some are overwritten unused."""

_EXIF: Final = b"Exif\x00"
_XMP: Final = b"http://ns.adobe.com/xap/1.0/\x00"
_MORE_XMP: Final = b"http://ns.adobe.com/xmp/extension/\x00"
_MORE_XMP_HEAD: Final = len(_MORE_XMP) + 40
_PROFILE: Final = b"ICC_PROFILE\x00"
_PHOTOSHOP: Final = b"Photoshop 3.0\x00"


def walk(stream: BinaryIO, size: int) -> Contents:
    """Walk a JPEG file of ``size`` bytes and any JPEG files appended to it."""
    contents = Contents()
    begin: int | None = 0
    for _ in range(_MAX_PICTURES):
        if begin is None:
            break
        end = _Walk(stream, contents, size).picture(begin)
        if end is None:
            break
        if end == size:
            contents.is_whole = True
            break
        contents.add_unknown()
        begin = _find(stream, _NEXT_PICTURE, end, end + _MAX_SEARCHED)
    return contents


class _Walk:
    """The walk through one picture of a file."""

    def __init__(self, stream: BinaryIO, contents: Contents, size: int) -> None:
        self._size = size
        self._stream = stream
        self._contents = contents
        self._tables = dict.fromkeys(_MOST_TABLES, 0)
        self._seen: set[int] = set()
        self._profile: list[bytes] = []
        self._more_xmp: list[bytes] = []
        self._exif: list[bytes] = []
        self._held = 0

    def picture(self, at: int) -> int | None:
        """Walk from the picture's first byte and return where it ends, or None if no end is found."""
        end = self._segments(at + len(_START))
        if self._profile and not profiles.is_known(_joined(self._profile)):
            self._contents.has_extra = True
        self._take_joined()
        if end is None:
            self._contents.add_unknown()
        return end

    def _segments(self, at: int) -> int | None:
        for _ in range(MAX_BLOCKS):
            self._stream.seek(at)
            head = self._stream.read(4)
            if len(head) < 2 or head[0] != _FILL:
                return None
            marker = head[1]
            if marker == _EOI:
                return at + 2
            if marker == _FILL or marker in _WITHOUT_LENGTH:
                self._contents.add_unknown()
                at += fill_bytes(self._stream, at) if marker == _FILL else 2
                continue
            length = int.from_bytes(head[2:], "big")
            content = self._stream.read(max(0, length - 2))
            if len(head) < 4 or len(content) != length - 2:
                return None
            at += 2 + length
            self._take(marker, content)
            if marker == _SOS:
                if self._names_place():
                    return None  # nothing after the pixels can change the result
                found = _find(self._stream, _AFTER_SCAN, at)
                if found is None:
                    return self._size  # truncated within its pixels
                at = found
        return None

    def _names_place(self) -> bool:
        """Return whether the metadata before the pixels contain GPS data, as phone photos usually do."""
        self._take_joined()
        return self._contents.names_place

    def _take_joined(self) -> None:
        """Join and record the blocks that are spread over several segments."""
        if self._exif:
            # Each part begins with the EXIF marker; keep only the first one.
            self._contents.add_exif(b"".join([self._exif[0], *(each[6:] for each in self._exif[1:])]))
        if self._more_xmp:
            self._contents.add_xmp(b"".join(self._more_xmp))
        self._exif, self._more_xmp = [], []

    def _take(self, marker: int, content: bytes) -> None:
        if marker == _SOS:
            self._tables = dict.fromkeys(_MOST_TABLES, 0)
            if not content or len(content) != 4 + 2 * content[0]:
                self._contents.add_unknown()
        elif marker in _MOST_TABLES:
            self._tables[marker] += _count_tables(marker, content)
            if self._tables[marker] > _MOST_TABLES[marker]:
                self._contents.add_unknown()
        elif not self._is_harmless(marker, content):
            self._take_metadata(marker, content)

    def _is_harmless(self, marker: int, content: bytes) -> bool:
        """Return whether a segment holds only numbers and is of a kind seen for the first time."""
        if marker in _FRAMES:
            kind, is_sound = 0xC0, len(content) > 5 and len(content) == 6 + 3 * content[5]
        else:
            kind = marker
            is_sound = (
                (marker == _DRI and len(content) == 2)
                or (marker == 0xE0 and len(content) == _JFIF_BYTES and content.startswith(b"JFIF\x00")
                    and content.endswith(b"\x00\x00"))
                or (marker == 0xEE and len(content) == _ADOBE_BYTES and content.startswith(b"Adobe"))
            )  # fmt: skip
        if not is_sound or (kind in self._seen and marker != _DRI):
            return False
        self._seen.add(kind)
        return True

    def _take_metadata(self, marker: int, content: bytes) -> None:
        contents = self._contents
        if marker == 0xE1 and content.startswith(_EXIF):
            self._hold(self._exif, content)
        elif marker == 0xE1 and content.startswith(_XMP):
            contents.add_xmp(content[len(_XMP) :])
        elif marker == 0xE1 and content.startswith(_MORE_XMP):
            self._hold(self._more_xmp, content[_MORE_XMP_HEAD:])
        elif marker == 0xE2 and content.startswith(_PROFILE):
            self._hold(self._profile, content[len(_PROFILE) :])
        elif marker == 0xED and content.startswith(_PHOTOSHOP):
            contents.add_photoshop(content[len(_PHOTOSHOP) :])
        else:
            contents.add_unknown()

    def _hold(self, parts: list[bytes], part: bytes) -> None:
        """Keep a part of a block that may continue in the next segment."""
        self._held += len(part)
        if self._held > MAX_KEPT:
            self._contents.add_unknown()
        else:
            parts.append(part)


def _count_tables(marker: int, content: bytes) -> int:
    """Count the tables of a DQT or DHT segment; more than allowed if it contains anything else."""
    at = count = 0
    while at < len(content):
        is_dqt = marker == _DQT
        at += 1 + 64 * (1 + (content[at] >> 4)) if is_dqt else 17 + sum(content[at + 1 : at + 17])
        count += 1
    return count if at == len(content) else 1 + _MOST_TABLES[marker]


def _joined(parts: list[bytes]) -> bytes:
    """Join the numbered parts of a profile. Return nothing if they do not form one profile."""
    in_order = sorted(parts, key=lambda part: part[:1])
    numbers = [part[:2] for part in in_order]
    if numbers != [bytes((number + 1, len(parts) & 0xFF)) for number in range(min(len(parts), 0xFF))]:
        return b""
    return b"".join(part[2:] for part in in_order)


def _find(stream: BinaryIO, pattern: re.Pattern[bytes], at: int, end: int | None = None) -> int | None:
    """Return the next position of a two- or three-byte pattern from ``at`` on, or None."""
    while end is None or at < end:
        stream.seek(at)
        block = stream.read(_BLOCK)
        found = pattern.search(block)
        if found:
            return at + found.start()
        if len(block) < _BLOCK:
            break
        at += len(block) - _OVERLAP
    return None

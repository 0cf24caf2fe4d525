"""The directories of a TIFF file.

TIFF files always get a proxy, so the gaps between their parts are not searched: a file is never known to be
free of metadata, but it may be known to hold no GPS data.
Source: TIFF 6.0, sections 2 to 8; Adobe Photoshop TIFF Technical Notes; XMP part 3, section 1.1.6.
"""

from __future__ import annotations

from typing import Final

from media_files.imaging.contents import gps
from media_files.imaging.contents.found import Contents
from media_files.imaging.formats.tiff import MAX_VALUES, Directory, TiffError, TiffReader

_XMP, _IPTC, _PHOTOSHOP, _EXIF_IFD, _GPS_IFD = 700, 33723, 34377, 0x8769, 0x8825
_PIECES: Final = ((273, 279), (324, 325))
_PICTURE: Final = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 274, 277, 278, 279, 280, 281, 282, 283, 284}
    | {290, 291, 292, 293, 296, 297, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 332, 334, 336, 338}
    | {339, 340, 341, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 34675}
)
"""Tags that describe pixels."""

_READ_APART: Final = frozenset({_XMP, _IPTC, _PHOTOSHOP})
_MAX_BLOCK: Final = 16 << 20


def walk(reader: TiffReader, pages: list[Directory], size: int) -> Contents:
    """Check the directories of a TIFF file of ``size`` bytes."""
    contents = Contents()
    end = 0
    for page in pages:
        contents.has_extra |= not page.entries.keys() <= _PICTURE
        try:
            contents.add_place(gps.in_directory(reader, page, apart=_READ_APART))
            end = max(end, _take_page(reader, contents, page))
        except TiffError:
            contents.add_unknown()
    # One byte of padding is allowed, because parts begin at even offsets.
    if not contents.has_unread and not end <= size <= end + 1:
        contents.add_unknown()
    return contents


def _take_page(reader: TiffReader, contents: Contents, page: Directory) -> int:
    """Record the blocks with their own tags, and return where the last part of the page ends."""
    for tag, take in (
        (_XMP, contents.add_xmp),
        (_IPTC, contents.add_iptc),
        (_PHOTOSHOP, contents.add_photoshop),
    ):
        entry = page.entries.get(tag)
        if entry is not None:
            take(reader.data(entry, _MAX_BLOCK))
    parts = [page, *(reader.sub_directory(page, tag) for tag in (_EXIF_IFD, _GPS_IFD))]
    return max(*(reader.end(part) for part in parts), *_ends_of_pieces(reader, contents, page))


def _ends_of_pieces(reader: TiffReader, contents: Contents, page: Directory) -> list[int]:
    ends: list[int] = []
    for offsets, sizes in _PIECES:
        entry = page.entries.get(offsets)
        if entry is not None and entry.count > MAX_VALUES:
            contents.has_unread = True
        pairs = zip(reader.integers(entry), reader.integers(page.entries.get(sizes)), strict=False)
        ends += [offset + length for offset, length in pairs]
    return ends

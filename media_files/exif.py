"""What EXIF and XMP say of a picture that bears on its proxy: which way is up, when and where it was taken.

Metadata is a courtesy: what is damaged or nonsense counts as absent and never costs the picture.
Source: EXIF 2.32, sections 4.6.4 (orientation), 4.6.5 (time) and 4.6.6 (GPS); XMP part 2, exif namespace.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Final

from media_files.tiff import Directory, TiffError, TiffReader

ORIENTATION: Final = 0x0112
_ORIENTATIONS: Final = range(1, 9)
_EXIF_IFD: Final = 0x8769
_GPS_IFD: Final = 0x8825
_TIME_ORIGINAL: Final = 0x9003
_OFFSET_ORIGINAL: Final = 0x9011
_GPS_PLACES: Final = (0x0002, 0x0004, 0x0014, 0x0016)  # latitude and longitude, own and of the destination
_TEXT_BYTES: Final = 64

_XMP_PLACE: Final = re.compile(
    rb"GPS(?:Dest)?(?:Latitude|Longitude|Coordinates)(?:\s*=\s*[\"']\s*|\s*>\s*)[^\s\"'<]"
)


@dataclass(frozen=True, slots=True)
class Metadata:
    """The facts, with the values that stand for "not said"."""

    orientation: int = 1
    captured_at: datetime | None = None
    has_location: bool = False


def read_exif(block: bytes) -> Metadata:
    """The facts in an EXIF block, with or without its leading ``Exif`` marker."""
    return read_tiff_metadata(io.BytesIO(block.removeprefix(b"Exif\x00\x00")))


def read_tiff_metadata(stream: BinaryIO) -> Metadata:
    """The facts in the first directory of a TIFF structure that begins at the start of ``stream``."""
    try:
        reader = TiffReader(stream)
        main = reader.directory(reader.first)
    except TiffError:
        return Metadata()
    return Metadata(
        orientation=_orientation(reader, main),
        captured_at=_captured_at(reader, _sub_directory(reader, main, _EXIF_IFD)),
        has_location=_has_place(reader, _sub_directory(reader, main, _GPS_IFD)),
    )


def _sub_directory(reader: TiffReader, main: Directory, tag: int) -> Directory:
    try:
        offset = reader.integer(main.entries.get(tag), 0)
        return reader.directory(offset) if offset else Directory({}, 0)
    except TiffError:
        return Directory({}, 0)


def _orientation(reader: TiffReader, main: Directory) -> int:
    try:
        value = reader.integer(main.entries.get(ORIENTATION), 1)
    except TiffError:
        return 1
    return value if value in _ORIENTATIONS else 1


def _text(reader: TiffReader, directory: Directory, tag: int) -> str:
    try:
        data = reader.raw(directory.entries.get(tag), _TEXT_BYTES)
    except TiffError:
        return ""
    return data.split(b"\x00", 1)[0].decode("ascii", "replace").strip()


def _captured_at(reader: TiffReader, directory: Directory) -> datetime | None:
    """Naive where the camera did not write its offset from UTC, aware where it did."""
    moment = _text(reader, directory, _TIME_ORIGINAL)
    offset = _text(reader, directory, _OFFSET_ORIGINAL).replace("Z", "+00:00")
    for text, form in ((moment + offset, "%Y:%m:%d %H:%M:%S%z"), (moment, "%Y:%m:%d %H:%M:%S")):
        try:
            return datetime.strptime(text, form)  # noqa: DTZ007 - EXIF often knows no time zone
        except ValueError:
            continue
    return None


def _has_place(reader: TiffReader, directory: Directory) -> bool:
    """Whether a coordinate is written. Cameras without a fix leave an empty directory, or 0/0."""
    try:
        return any(
            any(denominator for _, denominator in reader.rationals(directory.entries.get(tag)))
            for tag in _GPS_PLACES
        )
    except TiffError:
        # Something that cannot be read stands where a place would: it must not be passed on either.
        return True


def xmp_has_location(packet: bytes | str) -> bool:
    """Whether an XMP packet holds a coordinate, as an attribute or as an element."""
    data = packet.encode("utf-8", "replace") if isinstance(packet, str) else packet
    return _XMP_PLACE.search(data) is not None

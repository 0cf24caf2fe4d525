"""Read the EXIF facts that matter for a proxy: orientation and capture time.

Metadata are optional: damaged or nonsensical values count as absent and never make a picture fail.
Source: EXIF 2.32, sections 4.6.4 (orientation) and 4.6.5 (time).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Final

from media_files.imaging.formats.tiff import Directory, TiffError, TiffReader

ORIENTATION: Final = 0x0112
_ORIENTATIONS: Final = range(1, 9)
_EXIF_IFD: Final = 0x8769
_TIME_ORIGINAL: Final = 0x9003
_OFFSET_ORIGINAL: Final = 0x9011
_TEXT_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Metadata:
    """EXIF facts; the defaults mean "not specified"."""

    orientation: int = 1
    captured_at: datetime | None = None


def read_exif(block: bytes) -> Metadata:
    """Read the facts from an EXIF block, with or without its leading ``Exif`` marker."""
    return read_tiff_metadata(io.BytesIO(block.removeprefix(b"Exif\x00\x00")))


def read_tiff_metadata(stream: BinaryIO) -> Metadata:
    """Read the facts from the first directory of the TIFF structure at the start of ``stream``."""
    try:
        reader = TiffReader(stream)
        main = reader.directory(reader.first)
    except TiffError:
        return Metadata()
    return Metadata(
        orientation=_orientation(reader, main),
        captured_at=_captured_at(reader, _sub_directory(reader, main, _EXIF_IFD)),
    )


def _sub_directory(reader: TiffReader, main: Directory, tag: int) -> Directory:
    try:
        return reader.sub_directory(main, tag)
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
    """Return the capture time: aware if the camera wrote its UTC offset, otherwise naive."""
    moment = _text(reader, directory, _TIME_ORIGINAL)
    offset = _text(reader, directory, _OFFSET_ORIGINAL).replace("Z", "+00:00")
    for text, form in ((moment + offset, "%Y:%m:%d %H:%M:%S%z"), (moment, "%Y:%m:%d %H:%M:%S")):
        try:
            return datetime.strptime(text, form)  # noqa: DTZ007 - EXIF often has no time zone
        except ValueError:
            continue
    return None

"""Decide whether metadata contain GPS data: yes, no, or unknown (None).

The answer is *no* only for blocks that were fully understood. Free text, maker notes and unknown fields may
name a location, so a block that contains any of them is unknown.
Sources: EXIF 2.32, section 4.6; XMP part 2; IPTC Photo Metadata Standard 2022; IPTC-IIM 4.2, section 6.
"""

from __future__ import annotations

import io
import re
from typing import Final

from media_files.imaging.formats.tiff import Directory, TiffError, TiffReader

_ORIENTATION: Final = 0x0112
_EXIF_IFD: Final = 0x8769
_GPS_IFD: Final = 0x8825
# Latitude and longitude of the camera and of the destination.
_COORDINATES: Final = (0x0002, 0x0004, 0x0014, 0x0016)
# Version, references, altitude, time, status and datum: no location without coordinates.
_GPS_TAGS: Final = frozenset({*range(0x0C), 0x12, 0x13, 0x14, 0x15, 0x16, 0x1D, 0x1E})
_MAIN_TAGS: Final = frozenset(
    {0x00FE, 0x00FF, *range(0x0100, 0x0104), 0x0106, 0x0107, 0x010A, 0x010F, 0x0110, 0x0111, 0x0112}
    | {*range(0x0115, 0x011D), 0x0122, 0x0123, 0x0124, 0x0125, 0x0128, 0x0129, 0x012D, 0x0131, 0x0132}
    | {0x013D, 0x013E, 0x013F, *range(0x0140, 0x0146), 0x0152, 0x0153, 0x0154, 0x0155, 0x015B}
    | {*range(0x0211, 0x0215), 0x4746, 0x4749, 0x8773, _EXIF_IFD, _GPS_IFD}
)
_EXIF_TAGS: Final = frozenset(
    {0x829A, 0x829D, 0x8822, 0x8827, *range(0x8830, 0x8836), 0x9000, 0x9003, 0x9004, 0x9010, 0x9011, 0x9012}
    | {0x9101, 0x9102, *range(0x9201, 0x920B), 0x9214, 0x9290, 0x9291, 0x9292, *range(0xA000, 0xA004)}
    | {0xA20B, 0xA20E, 0xA20F, 0xA210, 0xA215, 0xA217, 0xA300, 0xA301, *range(0xA401, 0xA409), 0xA40A}
    | {0xA40C, 0xA420, 0xA431, 0xA432, 0xA433, 0xA434, 0xA435, 0xA500}
)

# Every repetition is bounded, so that the time stays proportional to a packet's length.
_ELEMENTS: Final = rb"(?:<rdf:\w{1,9}[^<>]{0,200}>\s{0,99}){0,3}"
_WRITTEN: Final = (
    rb"(?:\s{0,99}=\s{0,99}[\"']\s{0,99}|[^<>]{0,200}>\s{0,99}" + _ELEMENTS + rb"|\s{1,9}(?=[\d-]))[^\s\"'<]"
)
_XMP_PLACE: Final = re.compile(
    rb"(?i)[:\s<](?:\w{0,40}(?:Latitude|Longitude|Coordinates)|City|State|Province\w{0,9}|Country\w{0,9}"
    rb"|Location\w{0,20}|Sub-?location\w{0,9}|WorldRegion|GPSAreaInformation|Landmark)" + _WRITTEN
)
_XMP_TEXT: Final = re.compile(
    rb"(?i)(?<!rdf):(?:Description|Title|Headline|Caption\w{0,20}|Subject|Keywords|Instructions|Label|Event"
    rb"|UserComment|ImageDescription|hierarchicalSubject|AltTextAccessibility|ExtDescrAccessibility)\b"
)
"""Free-text fields, which may name a location in words."""

_MAX_XMP: Final = 4 << 20

_IPTC_PLACES: Final = frozenset({26, 27, 90, 92, 95, 100, 101})
_IPTC_MARK: Final = 0x1C
_IPTC_HEAD: Final = 5

_ALONE: Final = re.compile(
    rb"(?:Exif\x00\x00)?(?:II\*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00.\x00\x00\x00"
    rb"|MM\x00\*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00.\x00\x00)\x00{4}",
    re.DOTALL,
)


def is_orientation_alone(block: bytes) -> bool:
    """Return whether an EXIF block holds only an orientation."""
    return _ALONE.fullmatch(block) is not None


def in_exif(block: bytes) -> bool | None:
    """Check an EXIF block, with or without its leading ``Exif`` marker."""
    try:
        reader = TiffReader(io.BytesIO(block.removeprefix(b"Exif\x00\x00")))
        main = reader.directory(reader.first)
    except TiffError:
        return None
    found = in_directory(reader, main)
    # The directory of a thumbnail is not read.
    return None if found is False and main.next else found


def in_directory(reader: TiffReader, main: Directory, apart: frozenset[int] = frozenset()) -> bool | None:
    """Check a directory and its EXIF and GPS sub-directories. Tags in ``apart`` are checked elsewhere."""
    try:
        gps = reader.sub_directory(main, _GPS_IFD)
        if _has_coordinates(reader, gps):
            return True
        exif = reader.sub_directory(main, _EXIF_IFD)
    except TiffError:
        return None
    known = ((main, _MAIN_TAGS | apart), (exif, _EXIF_TAGS), (gps, _GPS_TAGS))
    return False if all(directory.entries.keys() <= tags for directory, tags in known) else None


def _has_coordinates(reader: TiffReader, gps: Directory) -> bool:
    """Return whether there is a coordinate. Cameras without a fix write an empty directory, or 0/0."""
    try:
        return any(
            any(denominator for _, denominator in reader.rationals(gps.entries.get(tag)))
            for tag in _COORDINATES
        )
    except TiffError:
        # An unreadable coordinate counts as GPS data.
        return True


def in_xmp(packet: bytes) -> bool | None:
    """Check an XMP packet, in any of the encodings that XMP allows."""
    data = packet[:_MAX_XMP].replace(b"\x00", b"")  # turns UTF-16 and UTF-32 of the ASCII names into ASCII
    if _XMP_PLACE.search(data):
        return True
    is_read = len(packet) <= _MAX_XMP and b"\x00" not in packet.rstrip(b"\x00") and _is_utf8(packet)
    return False if is_read and not _XMP_TEXT.search(data) else None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def in_iptc(record: bytes) -> bool | None:
    """Check IPTC-IIM data sets. The answer is never *no*, because most of the other fields are free text."""
    at = record.find(_IPTC_MARK)
    while 0 <= at <= len(record) - _IPTC_HEAD and record[at] == _IPTC_MARK:
        size = int.from_bytes(record[at + 3 : at + 5], "big")
        if record[at + 1] == 2 and record[at + 2] in _IPTC_PLACES and size:
            return True
        at += _IPTC_HEAD + size
    return None

"""What a walk of a container finds besides the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from media_files.imaging.contents import gps

MAX_KEPT: Final = 16 << 20
"""Bytes of metadata that are joined before reading. Anything beyond counts as unread."""

MAX_BLOCKS: Final = 65_536
"""Blocks examined per file. Encoders write a few hundred at most."""

_IPTC: Final = 0x0404


@dataclass(slots=True)
class Contents:
    """What a file contains besides its pixels.

    Attributes:
        is_whole: whether every byte was accounted for, up to the last.
        has_extra: whether the file contains anything that is not known to be harmless.
        has_unread: whether some of that could not be interpreted, so that it may contain GPS data.
        names_place: whether anything that could be interpreted contains GPS data.
    """

    is_whole: bool = False
    has_extra: bool = False
    has_unread: bool = False
    names_place: bool = False

    @property
    def has_metadata(self) -> bool | None:
        """Whether the file holds more than pixels and colour; None if not every byte was examined."""
        if self.has_extra:
            return True
        return False if self.is_whole else None

    @property
    def has_location(self) -> bool | None:
        """Whether the file contains GPS data; None if that cannot be determined."""
        if self.names_place:
            return True
        return None if self.has_unread else False

    def add_unknown(self) -> None:
        """Record a block that is not read."""
        self.has_extra = self.has_unread = True

    def add_exif(self, block: bytes) -> None:
        """Record an EXIF block. A block that holds only an orientation is harmless."""
        self.has_extra |= not gps.is_orientation_alone(block)
        self.add_place(gps.in_exif(block))

    def add_xmp(self, packet: bytes) -> None:
        """Record an XMP packet."""
        self.has_extra = True
        self.add_place(gps.in_xmp(packet))

    def add_iptc(self, record: bytes) -> None:
        """Record IPTC-IIM data sets."""
        self.has_extra = True
        self.add_place(gps.in_iptc(record))

    def add_photoshop(self, data: bytes) -> None:
        """Record Photoshop's image resources, of which IPTC-IIM is one.

        Source: Adobe Photoshop File Formats Specification, "Image Resources Section".
        """
        at = 0
        while data[at : at + 4] == b"8BIM":
            kind = int.from_bytes(data[at + 4 : at + 6], "big")
            name_bytes = data[at + 6] if at + 6 < len(data) else 0
            start = at + 6 + ((name_bytes + 2) & ~1)
            size = int.from_bytes(data[start : start + 4], "big")
            if kind == _IPTC:
                self.add_iptc(data[start + 4 : start + 4 + size])
            else:
                self.add_unknown()
            at = start + 4 + size + (size & 1)
        if at < len(data) or not data:
            self.add_unknown()

    def add_place(self, found: bool | None) -> None:
        """Record whether a block contains GPS data; None if that cannot be determined."""
        self.names_place |= found is True
        self.has_unread |= found is None

"""What a walk of a container finds beside the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from media_files.imaging.contents import gps

MAX_KEPT: Final = 16 << 20
"""Bytes of metadata that are joined before they are read. Anything beyond counts as not read."""

MAX_BLOCKS: Final = 65_536
"""Blocks of one file that are looked at. Encoders write a few hundred at most."""

_IPTC: Final = 0x0404


@dataclass(slots=True)
class Contents:
    """What a file holds beside its pixels.

    Attributes:
        is_whole: whether every byte was accounted for, up to the last.
        has_extra: whether something is there that is not known to be harmless.
        has_unread: whether some of that is not understood here, so that it may name a place.
        names_place: whether something that is understood names a place.
    """

    is_whole: bool = False
    has_extra: bool = False
    has_unread: bool = False
    names_place: bool = False

    @property
    def has_metadata(self) -> bool | None:
        """Whether anything is there beside pixels and colour; None where not every byte was looked at."""
        if self.has_extra:
            return True
        return False if self.is_whole else None

    @property
    def has_location(self) -> bool | None:
        """Whether a place is named; None where that cannot be known."""
        if self.names_place:
            return True
        return None if self.has_unread else False

    def add_unknown(self) -> None:
        """Take up something that is not read."""
        self.has_extra = self.has_unread = True

    def add_exif(self, block: bytes) -> None:
        """Take up an EXIF block. One that holds an orientation and not a byte more is harmless."""
        self.has_extra |= not gps.is_orientation_alone(block)
        self.add_place(gps.in_exif(block))

    def add_xmp(self, packet: bytes) -> None:
        """Take up an XMP packet."""
        self.has_extra = True
        self.add_place(gps.in_xmp(packet))

    def add_iptc(self, record: bytes) -> None:
        """Take up the data sets of IPTC-IIM."""
        self.has_extra = True
        self.add_place(gps.in_iptc(record))

    def add_photoshop(self, data: bytes) -> None:
        """Take up Photoshop's image resources, of which IPTC-IIM is one.

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
        """Take up whether a block names a place; None where that cannot be known."""
        self.names_place |= found is True
        self.has_unread |= found is None

"""The class that decodes HEIC and HEIF, from whichever of two packages is installed.

pillow-heif is the default because it receives the security fixes of libheif. ``pi_heif`` is the module of the
builds without the GPL encoder x265. Where both are installed, the maintained package wins.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, BinaryIO, Final, cast

try:
    from pillow_heif import HeifImageFile
except ModuleNotFoundError as error:
    # Any other failure to load the module must be reported, not hidden behind the second package.
    if error.name != "pillow_heif":
        raise
    from pi_heif import HeifImageFile  # type: ignore[no-redef]

from media_files.errors import CorruptImage, UnsupportedFormat
from media_files.imaging.formats import hevc
from media_files.imaging.formats.heif_items import Items, ItemsError, read_items

__all__ = ["HeifImage"]

logger = logging.getLogger(__name__)

_TURNED: Final = range(2, 9)
"""EXIF orientations of pictures that are stored sideways, upside down or mirrored."""

_TURNS: Final = frozenset({b"irot", b"imir"})
_UNREAD: Final[Mapping[bytes, str]] = MappingProxyType(
    {
        b"av01": "AV1",
        b"avc1": "AVC (H.264)",
        b"evc1": "EVC",
        b"j2k1": "JPEG 2000",
        b"jpeg": "JPEG",
        b"lhv1": "layered HEVC",
        b"unci": "uncompressed samples",
        b"vvc1": "VVC (H.266)",
    }
)
"""Coded items that the installed builds of libheif do not decode."""


class HeifImage(HeifImageFile):
    """A HEIC or HEIF picture, opened. Damage that libheif conceals is found when it is decoded."""

    def _open(self) -> None:
        self._items = _read_items(cast("BinaryIO", self.fp))
        self._refuse_other_codecs()
        super()._open()  # type: ignore[no-untyped-call] # pillow-heif has no types here
        orientation = self.info.get("original_orientation")
        if orientation in _TURNED and not self._is_turned_by_container():
            self.info["exif_orientation_ignored"] = orientation

    def _refuse_other_codecs(self) -> None:
        for item in [] if self._items is None else self._items.shown():
            if item.type in _UNREAD:
                raise UnsupportedFormat(
                    f"This HEIF picture is coded as {_UNREAD[item.type]}, which cannot be read here. "
                    "Save it as JPEG or PNG."
                )

    def _is_turned_by_container(self) -> bool:
        shown = None if self._items is None else self._items.by_number.get(self._items.primary)
        return shown is not None and any(kind in _TURNS for kind, _ in shown.properties)

    def load(self) -> Any:
        """Decode the picture.

        Raises:
            CorruptImage: the decoder conceals damage.
        """
        if self._im is None and self._items is not None and self.fp is not None:
            damage = hevc.find_damage(cast("BinaryIO", self.fp), self._items)
            if damage is not None:
                raise CorruptImage(
                    f"The HEIF picture is damaged or incomplete: {damage}. Send the original file again."
                )
        return super().load()  # type: ignore[no-untyped-call] # pillow-heif has no types here


def _read_items(stream: BinaryIO) -> Items | None:
    try:
        return read_items(stream)
    except ItemsError as error:
        # libheif knows more structures than are known here, and reports those that are damaged.
        logger.info("The items of a HEIF file cannot be read here: %s", error)
        return None

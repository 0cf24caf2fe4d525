"""The class that decodes AVIF, with a search for the damage that its decoder conceals."""

from __future__ import annotations

import logging
from typing import Any, BinaryIO, cast

from PIL import AvifImagePlugin

from media_files.errors import CorruptImage
from media_files.imaging.formats import av1
from media_files.imaging.formats.heif_items import Items, ItemsError, read_items

logger = logging.getLogger(__name__)


class AvifImage(AvifImagePlugin.AvifImageFile):
    """An AVIF picture, opened."""

    def _open(self) -> None:
        self._items: Items | None = None
        self._source = cast("BinaryIO", self.fp)
        try:
            self._items = read_items(self._source)
        except ItemsError as error:
            # libavif knows more structures than are known here, and reports those that are damaged.
            logger.info("The items of an AVIF file cannot be read here: %s", error)
        self._source.seek(0)
        super()._open()

    def load(self) -> Any:
        """Decode the picture.

        Raises:
            CorruptImage: the decoder conceals damage.
        """
        if self._im is None and self._items is not None:
            damage = av1.find_damage(self._source, self._items)
            self._items = None
            if damage is not None:
                raise CorruptImage(
                    f"The AVIF picture is damaged or incomplete: {damage}. Send the original file again."
                )
        return super().load()

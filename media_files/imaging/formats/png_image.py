"""PNG pictures with the transparent colour where the specification puts it.

Pillow compares the key of 2 and 4 bits with samples that it has scaled to 8, and drops half of 16 bits before
it compares. Source: W3C, Portable Network Graphics (Third Edition), section 11.3.1.1.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

from PIL import Image, PngImagePlugin

from media_files.errors import UnsupportedFormat

_SCALED: Final = {"L;2": 255 // 3, "L;4": 255 // 15}
"""How many levels of 255 one of the stored levels is, by Pillow's raw mode."""

_DEEP: Final = frozenset({"I;16B", "RGB;16B"})


class PngImage(PngImagePlugin.PngImageFile):
    """A PNG picture, opened. If a colour of 16 bits is transparent, its mode is RGBA."""

    def _open(self) -> None:
        super()._open()
        key = self.info.get("transparency")
        arguments = self.tile[0].args if self.tile else ""
        raw_mode = arguments[0] if isinstance(arguments, tuple) else arguments
        self._is_keyed_deep = key is not None and raw_mode in _DEEP
        if self._is_keyed_deep:
            self._mode = "RGBA"
            del self.info["transparency"]
        elif isinstance(key, int) and raw_mode in _SCALED:
            self.info["transparency"] = key * _SCALED[raw_mode]

    def load(self) -> Any:
        """Decode the picture.

        Raises:
            UnsupportedFormat: a colour of 16 bits is transparent, and imagecodecs is not installed.
        """
        if not (self._is_keyed_deep and self.tile):
            return super().load()
        assert self.fp is not None  # noqa: S101 - not decoded yet
        self.fp.seek(0)
        samples = _decode(self.fp.read())
        channels = [Image.fromarray(samples[:, :, band]) for band in range(samples.shape[2])]
        grey = len(channels) == 2
        self.im = Image.merge("RGBA", [channels[0]] * 2 + channels if grey else channels).im
        self.tile = []
        return super().load()


def _decode(data: bytes) -> Any:
    """Return rows x columns x channels of 8 bits, the last being alpha."""
    try:
        imagecodecs = importlib.import_module("imagecodecs")
    except ImportError as error:
        raise UnsupportedFormat(
            "A PNG picture of 16 bits with a transparent colour cannot be read on this installation: "
            "install imagecodecs."
        ) from error
    samples = imagecodecs.png_decode(data).astype("uint32")
    return ((samples * 255 + 32_895) >> 16).astype("uint8")

"""The source of a proxy's pixels: an image held in memory, or one that is resized while it is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Final, Protocol, cast

from PIL import Image, JpegImagePlugin

from media_files.errors import CorruptImage
from media_files.imaging import fast_decoders
from media_files.imaging.decoding import Banded, named_errors
from media_files.imaging.inspection import Limits, Opened, open_image
from media_files.imaging.integrity import verify, watch
from proxies.rendering.colour import may_be_transparent, to_8_bit
from proxies.rendering.draft_scale import Reduction, draft, reduce
from proxies.rendering.resize import Resizer, resize
from proxies.rendering.streaming_resize import (
    average_bands,
    bytes_decoded,
    resize_bands,
    resize_while_decoding,
)
from proxies.rendering.verify import FINE_GRID, fine_averages

LARGEST_WHOLE: Final = 38_000_000
"""Decoded bytes up to which an image is held in memory, which is faster. With the resizer's own memory, the
total is just below 64 MB."""


class Source(Protocol):
    """An image as it is stored, not turned upright or converted to sRGB.

    Attributes:
        mode: of its pixels: ``L``, ``RGB``, ``RGBA``, ``CMYK`` or ``LAB``.
        reduction: how it is decoded.
    """

    @property
    def mode(self) -> str: ...

    @property
    def reduction(self) -> Reduction: ...

    def resized(self, size: tuple[int, int], resizer: Resizer) -> tuple[Image.Image, str]:
        """Return the whole image resized to ``size`` px, and the name of the resizer.

        Raises:
            CorruptImage: the file has damage that is found only now.
        """

    def averages(self) -> Image.Image:
        """Return the image's `fine_averages`."""


@dataclass(frozen=True, slots=True)
class _Whole:
    """A decoded image with 8 bits per sample."""

    pixels: Image.Image
    reduction: Reduction

    @property
    def mode(self) -> str:
        return self.pixels.mode

    def resized(self, size: tuple[int, int], resizer: Resizer) -> tuple[Image.Image, str]:
        return resize(self.pixels, size, self.reduction.box, resizer)

    def averages(self) -> Image.Image:
        return fine_averages(self.pixels, self.reduction.box)


@dataclass(frozen=True, slots=True)
class _InBands:
    """A JPEG that is too large to be held in memory: each call decodes it again."""

    stream: BinaryIO
    limits: Limits
    target: tuple[int, int]
    mode: str
    reduction: Reduction

    def resized(self, size: tuple[int, int], resizer: Resizer) -> tuple[Image.Image, str]:
        with self._opened() as (opened, image):
            reduce(image, opened.facts.bytes, self.target)
            with _undamaged(opened, self.stream):
                return resize_while_decoding(image, size, self.reduction.box, resizer)

    def averages(self) -> Image.Image:
        with self._opened() as (_, image):
            return fine_averages(image, draft(image, (FINE_GRID, FINE_GRID)))

    @contextmanager
    def _opened(self) -> Iterator[tuple[Opened, JpegImagePlugin.JpegImageFile]]:
        with open_image(self.stream, self.limits) as opened:
            yield opened, cast("JpegImagePlugin.JpegImageFile", opened.image)


@dataclass(frozen=True, slots=True)
class _Streamed:
    """An image in bands that is too large to be held in memory: each call decodes it again."""

    image: Banded
    reduction: Reduction

    @property
    def mode(self) -> str:
        return self.image.mode

    def resized(self, size: tuple[int, int], resizer: Resizer) -> tuple[Image.Image, str]:
        return resize_bands(self.image.bands(), self.mode, self.image.size, size, resizer)

    def averages(self) -> Image.Image:
        return average_bands(self.image.bands(), self.mode, self.image.size, (FINE_GRID, FINE_GRID))


def source_of(opened: Opened, stream: BinaryIO, target: tuple[int, int], limits: Limits) -> Source:
    """Return the image's pixels for a proxy of ``target`` px before it is turned upright.

    Args:
        opened: from ``stream``; decoded here unless it is too large to be held in memory.
        stream: must stay open as long as the source is in use.
        target: px.
        limits: those that it was opened with.

    Raises:
        CorruptImage: the decoder reports an error, or reports none but has left pixels out.
    """
    image = opened.image
    with named_errors(opened.facts.format, pixels=opened.facts.width * opened.facts.height):
        reduction = Reduction((0, 0, *image.size))
        verify(stream, opened.png)
        decoded = fast_decoders.decode(image, stream)
        if decoded is None and isinstance(image, JpegImagePlugin.JpegImageFile):
            reduction = reduce(image, opened.facts.bytes, target)
            if _is_better_not_held(image, target):
                return _InBands(stream, limits, target, image.mode, reduction)
        if isinstance(image, Banded) and bytes_decoded(image) > LARGEST_WHOLE and image.size != target:
            return _Streamed(image, reduction)
        if decoded is None:
            with _undamaged(opened, stream):
                image.load()
            decoded = image
        return _Whole(to_8_bit(decoded, alpha=may_be_transparent(decoded)), reduction)


def _is_better_not_held(image: JpegImagePlugin.JpegImageFile, target: tuple[int, int]) -> bool:
    # For a progressive image, the decoder holds all coefficients anyway and writes the rows at the end.
    return bytes_decoded(image) > LARGEST_WHOLE and image.size != target and "progressive" not in image.info


@contextmanager
def _undamaged(opened: Opened, stream: BinaryIO) -> Iterator[None]:
    """Raise `CorruptImage` unless the block, which decodes the image with Pillow, has decoded all of it."""
    find_damage = watch(opened.image, stream, opened.png)
    yield
    damage = find_damage()
    if damage is not None:
        raise CorruptImage(
            f"The {opened.facts.format} picture is damaged or incomplete: {damage}. "
            "Send the original file again."
        )

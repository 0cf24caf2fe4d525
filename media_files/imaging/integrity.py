"""Damage that decoders do not report: looked for where the decoded picture gives cause."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, Final

from PIL import Image, ImageFile

from media_files.errors import CorruptImage
from media_files.imaging.formats import jpeg, png

_SENTINELS: Final[dict[str, int | tuple[int, ...]]] = {
    "1": 255,
    "L": 1,
    "LA": (1, 254),
    "P": 255,
    "I;16": 0x0101,  # Pillow pastes the low byte twice
    "RGB": (1, 254, 3),
    "RGBA": (1, 254, 3, 253),
}
"""What the rows of a PNG hold before they are decoded, by Pillow's mode."""

Check = Callable[[], str | None]


def verify(stream: BinaryIO, chunks: png.PngFacts | None) -> None:
    """Makes sure that the checksums hold of what is about to be decoded.

    Args:
        stream: the file.
        chunks: those of a PNG file; None for others, which have no checksums.

    Raises:
        CorruptImage: one does not.
    """
    if chunks is not None and not png.checksums_hold(stream, chunks):
        raise CorruptImage(
            "The PNG picture is damaged: a checksum of its pixels is wrong. Send the original file again."
        )


def watch(image: ImageFile.ImageFile, stream: BinaryIO, chunks: png.PngFacts | None) -> Check:
    """Prepares the search for damage; to be called before the picture is decoded by Pillow.

    Args:
        image: opened and not decoded yet.
        stream: the file.
        chunks: those of a PNG file, None for others.

    Returns:
        A function to be called after the decoding, which says what is damaged; None for nothing found.

    Raises:
        CorruptImage: a part of the picture is not there.
    """
    if isinstance(image.fp, jpeg.JpegSource):
        source = image.fp
        return lambda: jpeg.find_damage(source, image)
    if chunks is not None:
        whole = (0, 0, *image.size)
        if image.info.get("bbox", whole) != whole:
            raise CorruptImage(
                "The first frame of the animated PNG does not cover the picture. Send its frames as pictures."
            )
        # Rows that are never decoded keep what they held before. Without this that would be zero, as it
        # rightly is in the last rows of many a transparent picture. Only those that are looked at are
        # filled: to fill all of them takes a twentieth of the time of making the proxy.
        unread = Image.new(image.mode, image.size, None)
        unread.paste(_SENTINELS[image.mode], (0, _first_looked_at(image), *image.size))
        image.im = unread.im
        return lambda: _find_missing_rows(image, stream, chunks)
    return lambda: None


def _find_missing_rows(image: Image.Image, stream: BinaryIO, chunks: png.PngFacts) -> str | None:
    untouched = Image.new(image.mode, (image.width, 1), _SENTINELS[image.mode]).tobytes()
    last = range(_first_looked_at(image), image.height)
    if all(image.crop((0, row, image.width, row + 1)).tobytes() != untouched for row in last):
        return None
    if png.has_all_rows(stream, chunks):
        return None
    return "it holds fewer rows of pixels than its header promises"


def _first_looked_at(image: Image.Image) -> int:
    """Of an interlaced picture's rows every second one belongs to the last pass: the last two tell."""
    return max(0, image.height - 2)

"""Find damage that decoders do not report, if the decoded picture looks suspicious."""

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
"""The fill value for the rows of a PNG before decoding, by Pillow's mode."""

Check = Callable[[], str | None]


def verify(stream: BinaryIO, chunks: png.PngFacts | None) -> None:
    """Verify the checksums before decoding.

    Args:
        stream: the file.
        chunks: the chunks of a PNG file; None for other formats, which have no checksums.

    Raises:
        CorruptImage: a checksum is wrong.
    """
    if chunks is not None and not png.checksums_hold(stream, chunks):
        raise CorruptImage(
            "The PNG picture is damaged: a checksum of its pixels is wrong. Send the original file again."
        )


def watch(image: ImageFile.ImageFile, stream: BinaryIO, chunks: png.PngFacts | None) -> Check:
    """Prepare the search for damage. Call this before Pillow decodes the picture.

    Args:
        image: opened and not decoded yet.
        stream: the file.
        chunks: the chunks of a PNG file; None for other formats.

    Returns:
        A function to call after decoding, which returns what is damaged, or None if nothing is.

    Raises:
        CorruptImage: a part of the picture is missing.
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
        # Rows that are never decoded keep their fill value. By default that is zero, which is also the valid
        # content of the last rows of many transparent pictures. Only the rows that are checked are filled:
        # filling all of them would take a twentieth of the time for the proxy.
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
    """Return the first row to check: one of the last two always belongs to the last interlaced pass."""
    return max(0, image.height - 2)

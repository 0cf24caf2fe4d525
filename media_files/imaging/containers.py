"""Read facts from a file's container directly where Pillow would have to allocate or decode to get them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from PIL import ImageFile

from media_files.errors import CorruptImage, ImageTooLarge, UnsupportedFormat
from media_files.imaging.contents import bmp, boxes, gif, tiff, webp
from media_files.imaging.contents import jpeg as jpeg_contents
from media_files.imaging.contents import png as png_contents
from media_files.imaging.contents.found import Contents
from media_files.imaging.formats import jpeg, png
from media_files.imaging.formats.exif import Metadata, read_exif, read_tiff_metadata
from media_files.imaging.formats.tiff import Directory, TiffError, TiffReader

MAX_STRIPS: Final = 262_144
"""Strips or tiles of a TIFF page. Pillow creates an object for each when it opens the file."""

PLAIN_BITS: Final = 8
"""Bits per sample. Deeper pictures must be reduced to this before they are sent."""

_WIDTH, _LENGTH, _BITS, _SUBFILE, _STRIPS, _TILES, _SUB_IFDS = 256, 257, 258, 254, 273, 324, 330
_DNG_VERSION: Final = 50706
_SRGB_CODE_POINTS: Final = (1, 13)
_CR2_MARK: Final = b"CR"
_MPF_PICTURES: Final = 0xB001


@dataclass(frozen=True, slots=True)
class Container:
    """Facts read from the container.

    Attributes:
        contents: what the file contains besides its pixels.
        metadata: EXIF facts, for formats whose decoder does not provide them.
        frames: number of frames, pages or pictures; None if only the decoder knows.
        deep: whether there are more than 8 bits per sample, or a colour space that no profile describes.
        size: width and height of the stored picture, px, if they are needed before the decoder is called;
            otherwise None.
        png: the chunks; only for PNG files.
        code_points: primaries and transfer that are named instead of a profile (ITU-T H.273).
    """

    contents: Contents = field(default_factory=Contents)
    metadata: Metadata = Metadata()  # noqa: RUF009 - frozen
    frames: int | None = None
    deep: bool = False
    size: tuple[int, int] | None = None
    png: png.PngFacts | None = None
    code_points: tuple[int, int] | None = None


def read_container(stream: BinaryIO, format_name: str, size: int, max_frames: int) -> Container:
    """Walk the container of an allowed format before any decoder sees it.

    Args:
        stream: the file.
        format_name: Pillow's name of the format.
        size: size of the file, in bytes.
        max_frames: frames are counted up to one more than this.

    Raises:
        CorruptImage, ImageTooLarge, UnsupportedFormat: the file is at fault.
    """
    return _READERS[format_name](stream, size, max_frames)


def _read_jpeg(stream: BinaryIO, size: int, _max_frames: int) -> Container:
    if jpeg.is_arithmetic(stream):
        raise UnsupportedFormat(
            "This JPEG picture is packed by arithmetic coding, which hardly any program reads. "
            "Save it as a baseline JPEG."
        )
    return Container(jpeg_contents.walk(stream, size))


def _read_png(stream: BinaryIO, size: int, _max_frames: int) -> Container:
    found = png.read_png(stream)
    return Container(
        png_contents.walk(stream, size),
        metadata=read_exif(found.exif),
        frames=found.frames,
        deep=found.header.depth > PLAIN_BITS or found.code_points not in (None, _SRGB_CODE_POINTS),
        code_points=found.code_points,
        size=(found.header.width, found.header.height),
        png=found,
    )


def _read_gif(stream: BinaryIO, _size: int, max_frames: int) -> Container:
    contents, frames = gif.walk(stream, max_frames + 1)
    return Container(contents, frames=frames, size=gif.screen_size(stream))


def _read_bmp(stream: BinaryIO, size: int, _max_frames: int) -> Container:
    return Container(bmp.walk(stream, size))


def _read_jpeg2000(stream: BinaryIO, size: int, _max_frames: int) -> Container:
    return Container(boxes.walk_jpeg2000(stream, size))


def _read_heif(stream: BinaryIO, size: int, _max_frames: int) -> Container:
    return Container(boxes.walk_heif(stream, size), code_points=boxes.code_points(stream, size))


def _read_webp(stream: BinaryIO, file_size: int, _max_frames: int) -> Container:
    """Read the canvas size, which libwebp allocates on opening. Source: RFC 9649, sections 2.5 to 2.7."""
    stream.seek(12)
    head = stream.read(18)
    kind, data = head[:4], head[8:].ljust(10, b"\x00")
    if kind == b"VP8X":
        size = 1 + int.from_bytes(data[4:7], "little"), 1 + int.from_bytes(data[7:10], "little")
    elif kind == b"VP8L":
        bits = int.from_bytes(data[1:5], "little")
        size = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        size = int.from_bytes(data[6:8], "little") & 0x3FFF, int.from_bytes(data[8:10], "little") & 0x3FFF
    return Container(webp.walk(stream, file_size), size=size)


def _read_tiff(stream: BinaryIO, file_size: int, max_frames: int) -> Container:
    try:
        reader = TiffReader(stream)
        pages = list(reader.directories(max_frames + 1))
        page = pages[0] if pages else Directory({}, 0)
        _refuse_camera_raw(stream, reader, page)
        _check_strips(page)
        size = reader.integer(page.entries.get(_WIDTH), 0), reader.integer(page.entries.get(_LENGTH), 0)
        deep = max(reader.integers(page.entries.get(_BITS)), default=1) > PLAIN_BITS
    except TiffError as error:
        raise CorruptImage(
            f"The TIFF file is damaged or incomplete: {error}. Send the original file again."
        ) from error
    return Container(
        tiff.walk(reader, pages, file_size),
        metadata=read_tiff_metadata(stream),
        frames=max(len(pages), 1),
        deep=deep,
        size=size,
    )


def _refuse_camera_raw(stream: BinaryIO, reader: TiffReader, page: Directory) -> None:
    """Reject camera raw files: their first TIFF page is a thumbnail, which would become the proxy."""
    stream.seek(8)
    reduced = reader.integer(page.entries.get(_SUBFILE), 0) & 1
    if _DNG_VERSION in page.entries or stream.read(2) == _CR2_MARK or (reduced and _SUB_IFDS in page.entries):
        raise UnsupportedFormat(
            "This is a camera raw file, which holds no finished picture. Export it as JPEG or TIFF."
        )


def _check_strips(page: Directory) -> None:
    for tag in (_STRIPS, _TILES):
        entry = page.entries.get(tag)
        if entry is not None and entry.count > MAX_STRIPS:
            raise ImageTooLarge(
                f"The TIFF page is cut into {entry.count} pieces; {MAX_STRIPS} are allowed. "
                "Save it again with larger strips or tiles."
            )


_READERS: Final[dict[str, Callable[[BinaryIO, int, int], Container]]] = {
    "JPEG": _read_jpeg,
    "PNG": _read_png,
    "GIF": _read_gif,
    "WEBP": _read_webp,
    "TIFF": _read_tiff,
    "BMP": _read_bmp,
    "JPEG2000": _read_jpeg2000,
    "HEIF": _read_heif,
    "AVIF": _read_heif,
}


def metadata_of(image: ImageFile.ImageFile) -> Metadata:
    """Read the EXIF block that the decoder returned with the header."""
    exif = image.info.get("exif")
    return read_exif(exif) if isinstance(exif, bytes) else Metadata()


def add_decoded(contents: Contents, image: ImageFile.ImageFile) -> None:
    """Add the EXIF and XMP that the decoder of a HEIF or AVIF file has found."""
    for key, take in (("exif", contents.add_exif), ("xmp", contents.add_xmp)):
        block = image.info.get(key)
        if isinstance(block, bytes) and block:
            take(block)


def frames_of(image: ImageFile.ImageFile) -> int:
    """Return the number of frames, from the decoder or the MPF block (CIPA DC-007, 5.2.3)."""
    block = image.info.get("mp")
    if not isinstance(block, bytes):
        return getattr(image, "n_frames", 1)
    try:
        reader = TiffReader(io.BytesIO(block))
        return max(reader.integer(reader.directory(reader.first).entries.get(_MPF_PICTURES), 1), 1)
    except TiffError:
        return 1

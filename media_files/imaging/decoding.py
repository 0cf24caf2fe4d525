"""Open a file with the decoder for its format, and map every failure to a named error.

Decoders are called by class, never through Pillow's registry, so that no other plugin can run, whether it
comes with Pillow (EPS starts Ghostscript) or with another package.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import BinaryIO, Final, Protocol, cast, runtime_checkable

from PIL import Image, ImageFile, features

from media_files.errors import CorruptImage, ImageTooLarge, MediaError, MemoryLimit, UnsupportedFormat
from media_files.imaging.formats.jpeg import JpegSource
from media_files.imaging.formats.png import without_metadata
from media_files.shortage import find_shortage


@dataclass(frozen=True, slots=True)
class _Decoder:
    """The location of a decoder's class, and the package to install if it is missing."""

    module: str
    name: str
    package: str
    feature: str | None = None


_PILLOW: Final = "Pillow built with"
DECODERS: Final[Mapping[str, _Decoder]] = MappingProxyType(
    {
        "JPEG": _Decoder("PIL.JpegImagePlugin", "JpegImageFile", f"{_PILLOW} libjpeg", "jpg"),
        "PNG": _Decoder("media_files.imaging.formats.png_image", "PngImage", f"{_PILLOW} zlib", "zlib"),
        "GIF": _Decoder("PIL.GifImagePlugin", "GifImageFile", "Pillow"),
        "WEBP": _Decoder("PIL.WebPImagePlugin", "WebPImageFile", f"{_PILLOW} libwebp", "webp"),
        "TIFF": _Decoder("media_files.imaging.formats.tiff_image", "open_tiff", "imagecodecs"),
        "BMP": _Decoder("media_files.imaging.formats.bmp_image", "BmpImage", "Pillow"),
        "JPEG2000": _Decoder("media_files.imaging.formats.jpeg2000", "Jpeg2000Image", "imagecodecs"),
        "HEIF": _Decoder("media_files.imaging.formats.heif", "HeifImage", "pillow-heif"),
        "AVIF": _Decoder("PIL.AvifImagePlugin", "AvifImageFile", f"{_PILLOW} libavif", "avif"),
    }
)


@runtime_checkable
class Banded(Protocol):
    """A picture whose decoder can yield it from top to bottom, so that it need not be held in memory."""

    @property
    def mode(self) -> str: ...

    @property
    def size(self) -> tuple[int, int]: ...

    def bands(self) -> Iterator[Image.Image]:
        """Yield pieces of the picture's full width, of ``mode``. Each call decodes the picture again."""


# Words in a decoder's message that mean "valid but not supported" rather than "broken".
_UNSUPPORTED_WORDS: Final = (
    "unsupported",
    "not supported",
    "not yet supported",
    "cannot handle",
    "unknown pixel mode",
    "unknown data organization",
    "unknown compression",
    "not implemented",
)

_SOURCES: Final[Mapping[str, Callable[[BinaryIO], object]]] = {
    "JPEG": JpegSource,
    "PNG": without_metadata,
}
"""What the decoder of a format reads instead of the file itself."""

LARGEST_PIECE: Final = 35_651_584
"""Most pixels that the highest levels of HEVC and AV1 allow in one piece (ITU-T H.265 table A.8, level 6.2;
AV1 annex A.3, level 6.3). Cameras write larger pictures as grids, which decode; programs do not always."""

_IN_PIECES: Final = frozenset({"HEIF", "AVIF"})
_MEMORY_WORDS: Final = ("out of memory", "memory allocation", "allocation failed")
"""Messages of C++ decoders for what is a `MemoryError` in Python."""


@contextmanager
def named_errors(format_name: str, pixels: int = 0) -> Iterator[None]:
    """Map any exception that a decoder raises within the block to a named error.

    This is the only place that does so. What decoders raise is not documented: `OSError`, `ValueError`,
    `SyntaxError`, `TypeError`, `EOFError`, `RuntimeError`, `struct.error` and more have been seen, so any
    exception here means that the file could not be read.

    Args:
        format_name: Pillow's name of the format, for the message.
        pixels: pixels of the picture that is decoded in the block; 0 if none is.

    Raises:
        UnsupportedFormat: the decoder does not support this variant.
        ImageTooLarge: Pillow's guard against decompression bombs triggered.
        MachineLimit, NoSpace, StorageError: the machine failed, not the file.
        MemoryLimit: the decoder needed more memory than a valid picture of this size can take.
        CorruptImage: anything else.
    """
    try:
        yield
    except MediaError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"The {format_name} picture is larger than is allowed: {error}") from error
    except Exception as error:
        raise (find_shortage(error, pixels) or _named(format_name, error, pixels)) from error


def _memory_limit(format_name: str) -> MemoryLimit:
    return MemoryLimit(
        f"Decoding the {format_name} picture needs more memory than this process may use. Send a smaller one."
    )


def _named(format_name: str, error: Exception, pixels: int) -> MediaError:
    said = str(error) or type(error).__name__
    if isinstance(error, MemoryError | RecursionError) or any(
        words in said.lower() for words in _MEMORY_WORDS
    ):
        return _memory_limit(format_name)
    if format_name in _IN_PIECES and pixels > LARGEST_PIECE:
        return UnsupportedFormat(
            f"The decoder gives up on this {format_name} picture of {pixels} pixels ({said}); "
            f"{LARGEST_PIECE} are allowed in one piece. Save it as a JPEG."
        )
    if isinstance(error, NotImplementedError) or any(word in said.lower() for word in _UNSUPPORTED_WORDS):
        return UnsupportedFormat(
            f"This kind of {format_name} picture cannot be read here ({said}). "
            "Save it as a baseline JPEG or an 8-bit PNG."
        )
    return CorruptImage(
        f"The {format_name} picture is damaged or incomplete ({said}). Send the original file again."
    )


def decoder_class(format_name: str) -> type[ImageFile.ImageFile]:
    """Return the class that decodes ``format_name``, imported on first use.

    Raises:
        UnsupportedFormat: the decoder is not installed; the message names the package to install.
        MachineLimit: there were not enough file descriptors or memory to load the decoder.
    """
    decoder = DECODERS[format_name]
    try:
        if decoder.feature is not None and not features.check(decoder.feature):
            raise ImportError(decoder.feature)
        module = importlib.import_module(decoder.module)
    except (ImportError, OSError) as error:
        raise find_shortage(error) or UnsupportedFormat(
            f"{format_name} is unsupported on this installation: install {decoder.package}."
        ) from error
    return cast("type[ImageFile.ImageFile]", getattr(module, decoder.name))


def open_decoder(stream: BinaryIO, format_name: str, max_pixels: int) -> ImageFile.ImageFile:
    """Open an image and read only its header. The caller owns and closes the stream.

    Raises:
        MediaError: an error from `named_errors` or `decoder_class`.
    """
    factory = decoder_class(format_name)
    # Pillow's guard is one number per process. It must not reject what the limits allow, but it must stay
    # enabled, because it runs before decoders that know the size allocate memory.
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, max_pixels)
    with named_errors(format_name):
        source = cast("BinaryIO", _SOURCES[format_name](stream)) if format_name in _SOURCES else stream
        source.seek(0)
        return factory(source)

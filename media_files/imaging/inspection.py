"""Inspect a picture by its container alone: `inspect` decodes no pixels.

Every file passes through here. The module identifies a file by its bytes, rejects unsupported or oversized
ones before anything is allocated for them, and maps every failure to a named error.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Final, cast

from PIL import ImageFile

from media_files.errors import (
    CorruptImage,
    EmptyFile,
    FileTooLarge,
    ImageTooLarge,
    NotAnImage,
    UnsupportedFormat,
)
from media_files.imaging.containers import (
    PLAIN_BITS,
    Container,
    add_decoded,
    frames_of,
    metadata_of,
    read_container,
)
from media_files.imaging.decoding import named_errors, open_decoder
from media_files.imaging.formats import code_points, icc, png
from media_files.imaging.formats.metered import Metered
from media_files.imaging.formats.signatures import (
    CONTENT_TYPES,
    HEAD_BYTES,
    describe_other,
    sniff_image,
    sniff_video,
)

__all__ = ["CONTENT_TYPES", "ImageFacts", "Limits", "Opened", "inspect", "open_image", "sniff_video"]

FIRST_SIDEWAYS: Final = 5
"""EXIF orientations from this one on swap width and height."""

# Pillow's grey, RGB and palette modes of up to 8 bits, and the colour space that a profile must have.
_PLAIN_MODES: Final = {
    "1": "L",
    "L": "L",
    "LA": "L",
    "P": "RGB",
    "PA": "RGB",
    "RGB": "RGB",
    "RGBA": "RGB",
    "RGBX": "RGB",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits for a picture.

    Attributes:
        max_pixels: width times height. 250 megapixels take 1 GB when decoded, at four bytes per pixel.
        max_side: width or height, px.
        max_frames: frames of an animation, or pages.
        max_bytes: size of the file in bytes.
    """

    max_pixels: int = 250_000_000
    max_side: int = 65_535
    max_frames: int = 10_000
    max_bytes: int = 512 * 1024 * 1024


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Facts about a picture that need no decoding.

    Attributes:
        format: Pillow's name of the format. A camera's JPEG with further pictures (MPO) is ``JPEG``: every
            JPEG reader shows its first picture, and so do we; ``frames`` counts all of them.
        width: width of the upright picture, px.
        height: height of the upright picture, px.
        orientation: 1 to 8, the EXIF value by which the stored picture must be rotated. 1 for HEIF, whose
            decoder rotates the picture, and for invalid values.
        mode: Pillow's mode of the decoded picture.
        frames: number of frames of an animation, of pages, or of pictures of an MPO.
        has_location: whether EXIF, XMP or IPTC contains GPS data; None if something could not be read.
        has_metadata: whether the file contains anything besides pixels, colour and orientation; None if it
            was not walked to its last byte, which is done for the formats that may be sent unchanged.
        captured_at: when the picture was taken; aware only if EXIF contains the UTC offset.
        standard_colour: whether a reader that ignores profiles and reads 8 bits sees the right colours.
        bytes: size of the file.
    """

    format: str
    width: int
    height: int
    orientation: int
    mode: str
    frames: int
    has_location: bool | None
    has_metadata: bool | None
    captured_at: datetime | None
    standard_colour: bool
    bytes: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A picture whose header has been read and is within the limits.

    Attributes:
        facts: the facts from the header.
        image: the picture, not decoded yet.
        turn: the EXIF orientation to apply to the decoded pixels; 1 if the decoder rotates them.
        png: the chunks; only for PNG files.
        profile: the ICC profile of the pixels, made here if the file describes its colours in another way.
        tone_mapping: how the profile reduces the light of high dynamic range; None for other pictures.
    """

    facts: ImageFacts
    image: ImageFile.ImageFile
    turn: int
    png: png.PngFacts | None
    profile: bytes | None = None
    tone_mapping: str | None = None


def inspect(stream: BinaryIO, limits: Limits = DEFAULT_LIMITS) -> ImageFacts:
    """Return the facts about the picture in ``stream`` without decoding a pixel.

    The container is walked to its last byte. The stream must be seekable; it is left open, at an unspecified
    position.

    Raises:
        EmptyFile: the file is empty.
        FileTooLarge: the file has more bytes than the limits allow.
        NotAnImage: the file is a video. The error has its ``format`` and ``content_type``.
        UnsupportedFormat: the file is something else, or an unsupported variant.
        ImageTooLarge: pixels, a side, frames, or decompressed metadata exceed the limits.
        CorruptImage: the header is damaged.
        MemoryLimit: an allocation was refused.
    """
    with open_image(stream, limits) as opened:
        return opened.facts


@contextmanager
def open_image(stream: BinaryIO, limits: Limits = DEFAULT_LIMITS) -> Iterator[Opened]:
    """Open the picture in ``stream`` for the duration of the block. Raises the errors of `inspect`."""
    size = _byte_size(stream, limits)
    format_name = _identify(stream)
    with named_errors(format_name):
        metered = cast("BinaryIO", Metered(stream, size))
        container = read_container(metered, format_name, size, limits.max_frames)
    if container.size is not None:
        _check_size(format_name, container.size, limits)
    _check_frames(format_name, container.frames or 1, limits)
    image = open_decoder(stream, format_name, limits.max_pixels)
    try:
        _check_size(format_name, image.size, limits)
        with named_errors(format_name):
            opened = _opened(image, format_name, container, size)
        _check_frames(format_name, opened.facts.frames, limits)
        yield opened
    finally:
        _release(image)


def _release(image: ImageFile.ImageFile) -> None:
    """Free the pixels. The stream stays open, because the caller owns it."""
    image.fp = None
    if hasattr(image, "_fp"):
        image._fp = None  # type: ignore[assignment] # the decoder's second reference to the stream
    image.close()


def _byte_size(stream: BinaryIO, limits: Limits) -> int:
    stream.seek(0, os.SEEK_END)
    size = stream.tell()
    if size == 0:
        raise EmptyFile("The file is empty: it has 0 bytes. Send it again.")
    if size > limits.max_bytes:
        raise FileTooLarge(f"The file has {size} bytes; {limits.max_bytes} are allowed. Send a smaller one.")
    return size


def _identify(stream: BinaryIO) -> str:
    stream.seek(0)
    head = stream.read(HEAD_BYTES)
    found = sniff_image(head)
    if found is not None:
        return found
    allowed = ", ".join(CONTENT_TYPES)
    video = sniff_video(head)
    if video is not None:
        name, content_type = video
        raise NotAnImage(
            f"This is a video ({content_type}), but an image is needed. Send one of {allowed}.",
            format=name,
            content_type=content_type,
        )
    raise UnsupportedFormat(f"This is {describe_other(head)}. Send one of {allowed}.")


def _check_size(format_name: str, size: tuple[int, int], limits: Limits) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise CorruptImage(
            f"The {format_name} picture is {width} x {height}: it has no pixels. Send it again."
        )
    if width * height > limits.max_pixels:
        raise ImageTooLarge(
            f"The picture has {width} x {height} = {width * height} pixels; {limits.max_pixels} are allowed. "
            "Send a smaller one."
        )
    if max(width, height) > limits.max_side:
        raise ImageTooLarge(
            f"The picture is {width} x {height}; {limits.max_side} px a side are allowed. Send a smaller one."
        )


def _check_frames(format_name: str, frames: int, limits: Limits) -> None:
    if frames > limits.max_frames:
        raise ImageTooLarge(
            f"The {format_name} file has {frames} frames or more; {limits.max_frames} are allowed. "
            "Send the first one alone."
        )


def _opened(image: ImageFile.ImageFile, format_name: str, container: Container, size: int) -> Opened:
    if format_name in ("HEIF", "AVIF"):
        add_decoded(container.contents, image)
    profile, tone_mapping = _colours_of(image, container)
    # PNG and TIFF containers have been read completely; other decoders return the blocks with the header.
    metadata = container.metadata if format_name in ("PNG", "TIFF") else metadata_of(image)
    frames = frames_of(image) if container.frames is None else container.frames
    # Pillow's TIFF decoder rotates the pixels itself, and reports the upright size before that.
    turn = 1 if image.info.get("decoder") == "libtiff" else metadata.orientation
    width, height = image.size if turn < FIRST_SIDEWAYS else image.size[::-1]
    facts = ImageFacts(
        format=format_name,
        width=width,
        height=height,
        orientation=metadata.orientation,
        mode=image.mode,
        frames=frames,
        has_location=container.contents.has_location,
        has_metadata=container.contents.has_metadata,
        captured_at=metadata.captured_at,
        standard_colour=not _is_deep(image, container) and _has_standard_colour(image, profile),
        bytes=size,
    )
    return Opened(facts, image, turn, container.png, profile, tone_mapping)


def _colours_of(image: ImageFile.ImageFile, container: Container) -> tuple[bytes | None, str | None]:
    """Return the profile, also of colours that the file describes in another way, and the tone mapping in it.

    A PNG's code points come before its profile, and its gamma counts only without either (PNG, third edition,
    section 4.3). In HEIF and AVIF, code points count only without a profile.
    """
    chunks = container.png
    profile = image.info.get("icc_profile") if chunks is None else chunks.profile
    if container.code_points is not None and (chunks is not None or not profile):
        primaries, transfer = container.code_points
        return code_points.profile_of(primaries, transfer), code_points.tone_mapping_of(transfer)
    if chunks is not None and profile is None and not chunks.is_srgb and "gamma" in image.info:
        return code_points.profile_of_gamma(image.info["gamma"], image.info.get("chromaticity")), None
    return profile or None, None


def _is_deep(image: ImageFile.ImageFile, container: Container) -> bool:
    # pillow-heif converts 10 and 12 bits to 8, and reports the original depth.
    return container.deep or image.info.get("bit_depth", 0) > PLAIN_BITS


def _has_standard_colour(image: ImageFile.ImageFile, profile: bytes | None) -> bool:
    space = _PLAIN_MODES.get(image.mode)
    if space is None:
        return False
    # Readers and `render` ignore a profile that is broken or made for other pixels.
    if not profile or not icc.fits(profile, space) or icc.to_srgb(profile, space) is None:
        return True
    return icc.is_srgb(profile, space)

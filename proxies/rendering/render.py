"""Render a proxy: an upright, small, 8-bit sRGB image without any of the original's metadata.

The steps are ordered by cost: decode at the smallest scale that covers the target, resize once, then turn
upright and convert to sRGB, which are cheap on the small image, then encode once.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import BinaryIO, Final, Literal

from PIL import Image

from media_files.errors import CorruptImage, UnsupportedFormat
from media_files.imaging.decoding import named_errors
from media_files.imaging.inspection import (
    DEFAULT_LIMITS,
    FIRST_SIDEWAYS,
    ImageFacts,
    Limits,
    Opened,
    open_image,
)
from media_files.imaging.second_decoders import decode_again
from proxies.rendering.colour import (
    Coloured,
    drop_opaque_alpha,
    is_transparent,
    may_be_transparent,
    to_8_bit,
    to_srgb,
)
from proxies.rendering.encode import Encoded, encode
from proxies.rendering.pixel_sources import Source, source_of
from proxies.rendering.profiles import ProxyProfile
from proxies.rendering.resize import Resizer
from proxies.rendering.thumbnail import Thumbnail, make_thumbnail, thumbnail_size
from proxies.rendering.verify import SMALLEST, Verdict, compare, fine_averages

__all__ = [
    "Reason",
    "Rendered",
    "calculate_target_dimensions",
    "check",
    "get_optimal_format",
    "proxy_reasons",
    "render",
]

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]

SAMPLE_ONE_IN: Final = 16
"""One in this many proxies is compared with its original. A comparison takes a tenth of the time of making a
proxy. A bug in a resizer or decoder affects all images, so a sample finds it."""

_DECODERS: Final[Mapping[str, str]] = {
    "JPEG": "libjpeg-turbo",
    "WEBP": "libwebp",
    "JPEG2000": "OpenJPEG",
    "HEIF": "libheif",
    "AVIF": "libavif",
}
"""The library that decodes a format through Pillow, where that is not Pillow itself."""

_REPORTED: Final = ("exif_orientation_ignored",)
"""What decoders report about some pictures."""

_TRANSPOSE: Final[Mapping[int, Image.Transpose]] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Reason(StrEnum):
    """Why an image needs a proxy, in the order in which reasons are listed."""

    SHORTER_SIDE = "shorter_side"
    LONGER_SIDE = "longer_side"
    FORMAT = "format"
    BYTES = "bytes"
    ORIENTATION = "orientation"
    COLOUR = "colour"
    LOCATION = "location"
    METADATA = "metadata"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered proxy and its provenance.

    Attributes:
        data: the encoded file.
        format: ``JPEG`` or ``PNG``.
        width: px.
        height: px.
        sha256: of ``data``, in hexadecimal.
        provenance: see `docs/formats.md`.
        thumbnail: of the same picture.
    """

    data: bytes
    format: str
    width: int
    height: int
    sha256: str
    provenance: dict[str, Json]
    thumbnail: Thumbnail


def calculate_target_dimensions(width: int, height: int, profile: ProxyProfile) -> tuple[int, int]:
    """Return the proxy's width and height, px, for an upright image of ``width`` x ``height`` px.

    The shorter side becomes the profile's, unless that makes the longer side longer than the profile
    allows. An image is never enlarged, its aspect ratio is kept to the nearest pixel, and each side is at
    least 1 px.
    """
    scale = min(Fraction(1), Fraction(profile.longest_side, max(width, height)))
    if profile.shorter_side is not None:
        scale = min(scale, Fraction(profile.shorter_side, min(width, height)))
    return max(1, round(width * scale)), max(1, round(height * scale))


def proxy_reasons(facts: ImageFacts, profile: ProxyProfile) -> list[Reason]:
    """Return why the profile's reader needs a proxy, in the order of `Reason`; empty if it needs none."""
    shorter, longer = sorted((facts.width, facts.height))
    holds = {
        Reason.SHORTER_SIDE: profile.shorter_side is not None and shorter > profile.shorter_side,
        Reason.LONGER_SIDE: longer > profile.longest_side,
        Reason.FORMAT: facts.format not in profile.formats,
        Reason.BYTES: facts.bytes > profile.byte_limit,
        Reason.ORIENTATION: facts.orientation != 1,
        Reason.COLOUR: not facts.standard_colour,
        Reason.LOCATION: facts.has_location is True,
        Reason.METADATA: _may_hold_metadata(facts, profile),
    }
    return [reason for reason in Reason if holds[reason]]


def _may_hold_metadata(facts: ImageFacts, profile: ProxyProfile) -> bool:
    """Return whether the original contains metadata; if unknown, whether it could be sent as it is."""
    if facts.has_metadata is None:
        return facts.format in profile.formats
    return facts.has_metadata


def get_optimal_format(image: Image.Image) -> Literal["JPEG", "PNG"]:
    """Return ``PNG`` if any pixel is actually transparent, else ``JPEG``."""
    return "PNG" if is_transparent(image) else "JPEG"


def render(
    stream: BinaryIO,
    facts: ImageFacts,
    profile: ProxyProfile,
    *,
    limits: Limits = DEFAULT_LIMITS,
    resizer: Resizer = "auto",
) -> Rendered:
    """Render the proxy of the image in ``stream`` for the profile's reader.

    Args:
        stream: seekable; left open, at an unspecified position.
        facts: the result of the file's inspection. The bytes are inspected again, because they may have
            changed since; the provenance records if they have.
        profile: the reader's requirements.
        limits: checked before any pixel is decoded.
        resizer: ``pillow`` to do without SIMD.

    Raises:
        MediaError: for the same reasons as `media_files.imaging.inspection.inspect`; `CorruptImage` also for
            damage that only decoding finds.
    """
    with open_image(stream, limits) as opened:
        target = calculate_target_dimensions(opened.facts.width, opened.facts.height, profile)
        stored_target = target if opened.turn < FIRST_SIDEWAYS else target[::-1]
        source = source_of(opened, stream, stored_target, limits)
        with named_errors(opened.facts.format):
            picture = _Picture(opened, source, stream)
            made, encoded = _make_checked(picture, stored_target, profile, resizer)
        provenance: dict[str, Json] = {
            **made.provenance,
            "quality": encoded.quality,
            "facts_changed": opened.facts != facts,
        }
        thumbnail = make_thumbnail(made.image, resizer)
    width, height = encoded.size
    return Rendered(
        data=encoded.data,
        format=encoded.format,
        width=width,
        height=height,
        sha256=hashlib.sha256(encoded.data).hexdigest(),
        provenance=provenance,
        thumbnail=thumbnail,
    )


def check(stream: BinaryIO, *, limits: Limits = DEFAULT_LIMITS, resizer: Resizer = "auto") -> Thumbnail:
    """Decode the whole image in ``stream``, which shows that it can be read, and return its thumbnail.

    Args:
        stream: seekable; left open, at an unspecified position.
        limits: checked before any pixel is decoded.
        resizer: ``pillow`` to do without SIMD.

    Raises:
        MediaError: for the same reasons as `render`.
    """
    with open_image(stream, limits) as opened:
        target = thumbnail_size(opened.facts.width, opened.facts.height)
        stored_target = target if opened.turn < FIRST_SIDEWAYS else target[::-1]
        source = source_of(opened, stream, stored_target, limits)
        with named_errors(opened.facts.format):
            small, _ = source.resized(stored_target, resizer)
            return make_thumbnail(_Picture(opened, source, stream).finished(small).image, resizer)


@dataclass(frozen=True, slots=True)
class _Picture:
    """An inspected image and its pixels as they are stored."""

    opened: Opened
    source: Source
    stream: BinaryIO

    def finished(self, image: Image.Image) -> Coloured:
        """Return a reduced version of the stored pixels, turned upright and converted to sRGB."""
        upright = drop_opaque_alpha(_upright(image, self.opened.turn))
        return to_srgb(upright, self.opened.profile)


@dataclass(frozen=True, slots=True)
class _Made:
    """The finished image before encoding."""

    image: Image.Image
    provenance: dict[str, Json]


def is_sampled(data: bytes) -> bool:
    """Return whether a proxy belongs to the sample; always the same for the same file."""
    return zlib.crc32(data) % SAMPLE_ONE_IN == 0


def _make_checked(
    picture: _Picture, target: tuple[int, int], profile: ProxyProfile, resizer: Resizer
) -> tuple[_Made, Encoded]:
    """Make the proxy; check one in `SAMPLE_ONE_IN` against its original.

    If the check is not certain, the proxy is made again without SIMD.

    Raises:
        CorruptImage: the proxy shows something else, even when made without SIMD.
    """
    gains = picture.source.reduction.luma_gains
    made = _make(picture, target, resizer)
    encoded = encode(made.image, profile, resizer, gains)
    if not is_sampled(encoded.data):
        return made, encoded
    made.provenance["second_decoder"] = _second_verdict(picture, made.image)
    if _likeness(picture, made.image) == "alike":
        return made, encoded
    made = _make(picture, target, "pillow")
    if _likeness(picture, made.image) == "different":
        raise CorruptImage(
            "The proxy that was made does not show what the original shows, so it was not kept. "
            "Save the picture again in an image editor and upload that."
        )
    return made, encode(made.image, profile, "pillow", gains)


def _second_verdict(picture: _Picture, proxy: Image.Image) -> str:
    """Compare a proxy with what a second decoder sees.

    Returns:
        ``agrees``; ``none`` if there is no second decoder, and ``fails`` if it cannot read the file.

    Raises:
        UnsupportedFormat: the two decoders see different pictures.
    """
    opened = picture.opened
    try:
        again = decode_again(opened.image, picture.stream, opened.turn)
    except Exception:  # noqa: BLE001 - decoders raise anything; the first one has read the picture
        return "fails"
    if again is None or min(proxy.size) < SMALLEST:
        return "none"
    pixels = to_8_bit(again, alpha=may_be_transparent(again))
    original = picture.finished(fine_averages(pixels))
    converted = original.profile == "converted" or pixels.mode in ("CMYK", "LAB")
    if compare(original.image, fine_averages(proxy), converted=converted) == "different":
        raise UnsupportedFormat(
            f"Two decoders read this {opened.facts.format} picture differently, so no proxy was kept. "
            "Save it again in an image editor."
        )
    return "agrees"


def _likeness(picture: _Picture, proxy: Image.Image) -> Verdict:
    """Compare a proxy with its original, which is reduced by a different method than the proxy was.

    Done before encoding, because compression losses would hide small errors.
    """
    if min(proxy.size) < SMALLEST:
        return "alike"
    original = picture.finished(picture.source.averages())
    converted = original.profile == "converted" or picture.source.mode in ("CMYK", "LAB")
    return compare(original.image, fine_averages(proxy), converted=converted)


def _make(picture: _Picture, target: tuple[int, int], resizer: Resizer) -> _Made:
    opened = picture.opened
    small, resized_by = picture.source.resized(target, resizer)
    coloured = picture.finished(small)
    provenance: dict[str, Json] = {
        "decode_scale": _decode_scale(opened),
        "orientation": opened.facts.orientation,
        "profile": coloured.profile,
        "frames_dropped": opened.facts.frames - 1,
        "alpha": "kept" if coloured.image.mode == "RGBA" else "none",
        "resizer": resized_by,
        "decoder": opened.image.info.get("decoder", _DECODERS.get(opened.facts.format, "Pillow")),
        "combination": opened.image.info.get("combination", f"{opened.facts.format}, {opened.facts.mode}"),
        "tone_mapping": opened.tone_mapping,
        "second_decoder": "not asked",
        **{key: opened.image.info[key] for key in _REPORTED if key in opened.image.info},
    }
    return _Made(coloured.image, provenance)


def _decode_scale(opened: Opened) -> int:
    """Return 1, 2, 4 or 8: how many times smaller than stored the image was decoded."""
    return max(1, round(max(opened.facts.width, opened.facts.height) / max(opened.image.size)))


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    method = _TRANSPOSE.get(orientation)
    return image if method is None else image.transpose(method)

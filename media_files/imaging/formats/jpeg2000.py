"""JPEG 2000 pictures of any depth, with their profile and their transparency.

Pillow wraps colours above 8 bits and ignores profiles. The header is read here; OpenJPEG, through
imagecodecs, returns the samples (of sYCC, as RGB). Sources: ISO/IEC 15444-1, annexes A and I.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, cast

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from media_files.errors import CorruptImage, UnsupportedFormat

_CODESTREAM: Final = b"\xff\x4f\xff\x51"
_MAX_BOXES: Final = 10_000
_MAX_PROFILE: Final = 4 << 20
_MAX_COMPONENTS: Final = 16_384
_DEEPEST: Final = 16
_WHITE: Final = 255
_SRGB, _GREY, _SYCC, _CMYK = 16, 17, 18, 12
_SPACES: Final[Mapping[int, str]] = {_SRGB: "sRGB", _GREY: "grey", _SYCC: "sYCC", _CMYK: "CMYK"}
_BY_SPACE: Final[Mapping[str, tuple[int, str]]] = {
    "grey": (1, "L"),
    "sRGB": (3, "RGB"),
    "sYCC": (3, "RGB"),
    "CMYK": (4, "CMYK"),
}
"""Components of a colour space that hold the colour, and Pillow's mode without alpha."""

_OPACITY, _PREMULTIPLIED = 1, 2
_META_HEAD: Final = 8
_BYTE: Final = 8
_PALETTE_HEAD: Final = 3
"""The number of entries, in two bytes, and that of components."""


@dataclass(slots=True)
class Jpeg2000Header:
    """What the header says.

    Attributes:
        start: where the codestream begins.
        size: width and height, px.
        bits: per component.
        signed: whether the components' values are signed, one for each.
        shared: whether components hold fewer samples than the picture has pixels.
        space: ``sRGB``, ``grey``, ``sYCC``, ``CMYK``, or empty if the file does not say.
        profile: the ICC profile.
        entries: components of the palette; 0 without one.
        entry_bits: of the palette's first component.
        alpha: the component behind the colours: 1 for opacity, 2 for opacity by which the colours have been
            multiplied, 0 for unknown, -1 for no such component.
    """

    start: int = 0
    size: tuple[int, int] = (0, 0)
    bits: tuple[int, ...] = ()
    signed: tuple[bool, ...] = ()
    shared: bool = False
    space: str = ""
    profile: bytes | None = None
    entries: int = 0
    entry_bits: int = 8
    alpha: int = -1
    channels: dict[int, int] = field(default_factory=dict)

    @property
    def components(self) -> int:
        """How many components the decoded picture has."""
        return self.entries or len(self.bits)

    def __str__(self) -> str:
        depths = "/".join(str(bits) for bits in dict.fromkeys(self.bits))
        alpha = " with alpha" if self.alpha > 0 else ""
        palette = ", palette" if self.entries else ""
        return f"JPEG 2000, {depths} bits, {self.space}{alpha}{palette}"


def read_header(stream: BinaryIO) -> Jpeg2000Header:
    """Read the header of a JP2 file or a bare codestream.

    Raises:
        CorruptImage: there is no codestream, or its header is damaged.
        UnsupportedFormat: the message names what is not read.
    """
    header = Jpeg2000Header()
    stream.seek(0)
    header.start = 0 if stream.read(4) == _CODESTREAM else _read_boxes(stream, header)
    _read_size(stream, header)
    _complete(header)
    return header


def _boxes(stream: BinaryIO, at: int, end: int | None) -> Iterator[tuple[bytes, int, int]]:
    """Yield the type, start and end of the content of each box."""
    for _ in range(_MAX_BOXES):
        if end is not None and at >= end:
            return
        stream.seek(at)
        head = stream.read(16)
        if len(head) < _META_HEAD:
            return
        size, start = int.from_bytes(head[:4], "big"), at + 8
        if size == 1:
            size, start = int.from_bytes(head[8:16], "big"), at + 16
        stop = at + size if size else (end or 1 << 62)
        if stop < start:
            return
        yield head[4:8], start, stop
        at = stop


def _read_boxes(stream: BinaryIO, header: Jpeg2000Header) -> int:
    """Read the boxes before the codestream; return where it begins."""
    for kind, start, stop in _boxes(stream, 0, None):
        if kind == b"jp2h":
            for inner, at, end in _boxes(stream, start, stop):
                stream.seek(at)
                _read_header_box(inner, stream.read(min(end - at, _MAX_PROFILE)), header)
        elif kind == b"jp2c":
            return start
    raise CorruptImage("The JPEG 2000 file holds no picture. Send the original file again.")


def _read_header_box(kind: bytes, data: bytes, header: Jpeg2000Header) -> None:
    if kind == b"colr" and not header.space and header.profile is None:
        method = data[:1]
        if method == b"\x01":
            number = int.from_bytes(data[3:7], "big")
            header.space = _SPACES.get(number, f"colour space {number}")
        elif method in (b"\x02", b"\x03"):
            header.profile = data[3:]
    elif kind == b"pclr":
        header.entries = data[2] if len(data) > 2 else 0
    elif kind == b"cdef":
        for at in range(2, len(data) - 5, 6):
            channel, meaning, _ = struct.unpack_from(">3H", data, at)
            header.channels[channel] = meaning


def _read_size(stream: BinaryIO, header: Jpeg2000Header) -> None:
    stream.seek(header.start)
    head = stream.read(42)
    if len(head) < 42 or head[:4] != _CODESTREAM:
        raise CorruptImage("The JPEG 2000 header is damaged. Send the original file again.")
    right, bottom, left, top = struct.unpack_from(">4I", head, 8)
    count = int.from_bytes(head[40:42], "big")
    described = stream.read(3 * min(count, _MAX_COMPONENTS))
    if not 0 < count <= _MAX_COMPONENTS or len(described) < 3 * count:
        raise CorruptImage("The JPEG 2000 header is damaged. Send the original file again.")
    header.size = right - left, bottom - top
    header.bits = tuple(1 + (depth & 0x7F) for depth in described[::3])
    header.signed = tuple(bool(depth & 0x80) for depth in described[::3])
    header.shared = any(step != 1 for step in (*described[1::3], *described[2::3]))


def _complete(header: Jpeg2000Header) -> None:
    """Fill in what the file leaves open, and refuse what is not read."""
    if not header.space:
        header.space = "grey" if header.components <= 2 else "sRGB"
        if header.profile is not None:
            header.space = {b"GRAY": "grey", b"CMYK": "CMYK"}.get(header.profile[16:20], "sRGB")
    colours, _ = _BY_SPACE.get(header.space, (0, ""))
    unread = _unread_part(header, colours)
    if unread:
        raise UnsupportedFormat(
            f"A JPEG 2000 picture {unread} cannot be read here. Save it as TIFF, PNG or JPEG."
        )
    if header.components > colours:
        header.alpha = header.channels.get(colours, 0)


def _unread_part(header: Jpeg2000Header, colours: int) -> str:
    faults = {
        f"in {header.space}": not colours,
        f"of {header.components} components in {header.space}": header.components < colours,
        "whose components differ in depth": len({*zip(header.bits, header.signed, strict=True)}) > 1,
        f"of {header.bits[0]} bits": header.bits[0] > _DEEPEST,
        f"in {header.space} whose components differ in size": header.shared and header.space != "sYCC",
        "whose transparency comes before its colours": any(
            header.channels.get(number, 0) for number in range(colours)
        ),
        "with a palette and a profile": bool(header.entries) and header.profile is not None,
        f"with a palette of {header.entry_bits} bits": bool(header.entries) and header.entry_bits != _BYTE,
    }
    return next((fault for fault, applies in faults.items() if applies), "")


class Jpeg2000Image(ImageFile.ImageFile):
    """A JPEG 2000 picture, opened. Its pixels have 8 bits."""

    format = "JPEG2000"
    format_description = "JPEG 2000"

    def _open(self) -> None:
        assert self.fp is not None  # noqa: S101 - just given
        self.header = read_header(cast("BinaryIO", self.fp))
        _, mode = _BY_SPACE[self.header.space]
        self._mode = "RGBA" if self.header.alpha > 0 and mode != "CMYK" else mode
        self._size = self.header.size
        self.info["decoder"], self.info["combination"] = "OpenJPEG", str(self.header)
        if self.header.profile:
            self.info["icc_profile"] = self.header.profile

    def load(self) -> Any:
        """Decode the picture. Memory: OpenJPEG holds four bytes for each sample."""
        if self._im is None:
            assert self.fp is not None  # noqa: S101 - not decoded yet
            # Given the boxes, the library would apply the profile, and nobody would know whether it did.
            self.fp.seek(self.header.start if self.header.profile else 0)
            samples = imagecodecs.jpeg2k_decode(self.fp.read(), numthreads=1)
            pixels = np.ascontiguousarray(self._pixels(samples if samples.ndim > 2 else samples[:, :, None]))
            self.im = Image.frombuffer(self.mode, self.size, pixels, "raw", self.mode, 0, 1).im
        return super().load()

    def _pixels(self, samples: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """Return rows x columns x bytes of a pixel in the picture's mode."""
        header = self.header
        colours, _ = _BY_SPACE[header.space]
        if samples.shape[:2] != header.size[::-1] or samples.shape[2] < header.components:
            raise CorruptImage(
                "The JPEG 2000 picture is damaged: it decodes to another size than its header says. "
                "Send the original file again."
            )
        levels = _to_bytes(samples[:, :, : len(self.mode)], header)
        if self.mode != "RGBA":
            return levels
        colour, alpha = levels[:, :, :colours], levels[:, :, colours : colours + 1]
        if header.alpha == _PREMULTIPLIED:
            light = colour.astype(np.float32) * _WHITE
            colour = np.clip(np.divide(light, alpha, out=np.zeros_like(light), where=alpha > 0), 0, _WHITE)
            colour = np.rint(colour).astype(np.uint8)
        return np.concatenate([colour.repeat(3, axis=2) if colours == 1 else colour, alpha], axis=2)


def _to_bytes(samples: npt.NDArray[Any], header: Jpeg2000Header) -> npt.NDArray[np.uint8]:
    bits = 8 if header.entries else header.bits[0]
    top = (1 << bits) - 1
    values = samples.astype(np.int32)
    if header.signed[0]:
        values += 1 << (bits - 1)
    levels: npt.NDArray[np.uint8] = ((np.clip(values, 0, top) * _WHITE + top // 2) // top).astype(np.uint8)
    return levels

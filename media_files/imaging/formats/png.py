"""The chunks of a PNG file, read without decoding a pixel.

Pillow must decode the pixels to read the chunks after them, where cameras, phones and editors write EXIF.
Source: W3C, Portable Network Graphics (Third Edition), sections 5 and 11.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from media_files.errors import CorruptImage, ImageTooLarge
from media_files.imaging.formats.metered import spend
from media_files.imaging.formats.spliced import Spliced

SIGNATURE_BYTES: Final = 8
MAX_CHUNKS: Final = 1_000_000
"""Encoders write pixel chunks of 8 KB or more, so a file with this many would far exceed the byte limit."""

MAX_TEXT: Final = 1 << 20
"""Most bytes of a decompressed text that are read. What a longer one says is unknown."""

MAX_PROFILE: Final = 3 << 20
"""Most bytes that a colour profile may decompress to. The largest published ones have 2 MB."""

_HEAD_BYTES: Final = 8
_HEADER_BYTES: Final = 13
_CHECKSUM_BYTES: Final = 4
_NEEDED: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"fdAT"})
_MEANING: Final = frozenset({b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"cICP", b"acTL", b"fcTL"})
_BLOCK: Final = 1 << 20
_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# The seven passes of interlaced pictures: first column, first row, column step, row step.
_ADAM7: Final = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk: its type, and the offset and size of its data, both in bytes."""

    type: bytes
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Header:
    """The IHDR chunk."""

    width: int
    height: int
    depth: int
    colour_type: int
    interlaced: bool

    @property
    def inflated_bytes(self) -> int:
        """Bytes of the decompressed picture: a filter byte and the samples of each row."""
        bits = self.depth * _CHANNELS.get(self.colour_type, 1)
        passes = _ADAM7 if self.interlaced else ((0, 0, 1, 1),)
        total = 0
        for left, top, across, down in passes:
            columns = (self.width - left + across - 1) // across
            rows = (self.height - top + down - 1) // down
            if columns > 0 and rows > 0:
                total += rows * (1 + (columns * bits + 7) // 8)
        return total


@dataclass(frozen=True, slots=True)
class PngFacts:
    """Facts from the chunks, read without decoding a pixel.

    Attributes:
        header: the IHDR chunk.
        frames: pictures in the file; more than one for an APNG.
        exif: the EXIF block, before or after the pixels; empty if there is none.
        profile: the ICC profile, if there is one.
        code_points: primaries and transfer of a cICP chunk (ITU-T H.273); None without one.
        is_srgb: whether an sRGB chunk says so.
        idat: the pixel chunks of the picture that is shown first.
    """

    header: Header
    frames: int
    exif: bytes
    profile: bytes | None
    code_points: tuple[int, int] | None
    is_srgb: bool
    idat: tuple[Chunk, ...]


def chunks(stream: BinaryIO) -> Iterator[Chunk]:
    """Yield the chunks in file order, up to IEND or the end of the file."""
    offset = SIGNATURE_BYTES
    for _ in range(MAX_CHUNKS):
        stream.seek(offset)
        head = stream.read(_HEAD_BYTES)
        if len(head) < _HEAD_BYTES:
            return
        chunk = Chunk(head[4:], offset + _HEAD_BYTES, int.from_bytes(head[:4], "big"))
        yield chunk
        if chunk.type == b"IEND":
            return
        offset = chunk.offset + chunk.size + _CHECKSUM_BYTES


def _data(stream: BinaryIO, chunk: Chunk, most: int) -> bytes:
    stream.seek(chunk.offset)
    return stream.read(min(chunk.size, most))


def _inflate(stream: BinaryIO, packed: bytes, most: int) -> bytes | None:
    """Return what ``packed`` decompresses to: nothing if it is damaged, None if longer than ``most``."""
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(packed, most)
    except zlib.error:
        return b""
    spend(stream, len(plain))
    return None if inflater.unconsumed_tail else plain


def _header(data: bytes) -> Header:
    if len(data) < _HEADER_BYTES:
        raise CorruptImage("The PNG file ends within its header. Send the whole file again.")
    return Header(
        width=int.from_bytes(data[0:4], "big"),
        height=int.from_bytes(data[4:8], "big"),
        depth=data[8],
        colour_type=data[9],
        interlaced=bool(data[12]),
    )


def text_of(stream: BinaryIO, chunk: Chunk) -> tuple[bytes, bytes | None]:
    """Return the keyword and the text of a tEXt, zTXt or iTXt chunk; None for a text that is too long."""
    keyword, _, rest = _data(stream, chunk, chunk.size).partition(b"\x00")
    if chunk.type == b"zTXt":
        return keyword, _inflate(stream, rest[1:], MAX_TEXT)
    if chunk.type == b"iTXt":
        packed, text = rest[:1] == b"\x01", rest[2:].split(b"\x00", 2)[-1]
        return keyword, _inflate(stream, text, MAX_TEXT) if packed else text
    return keyword, rest


def raw_profile(text: bytes) -> bytes:
    """Decode ImageMagick's ``Raw profile type``: a name, a length, then hexadecimal digits."""
    try:
        return bytes.fromhex(b"".join(text.strip(b"\n").split(b"\n")[2:]).decode("ascii"))
    except ValueError:
        return b""


class _Gatherer:
    """Collect the facts for `PngFacts`, chunk by chunk."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.frames = 1
        self.exif = b""
        self.code_points: tuple[int, int] | None = None
        self.is_srgb = False
        self.profile: bytes | None = None
        self.idat: list[Chunk] = []

    def take(self, chunk: Chunk) -> None:
        if chunk.type == b"IDAT":
            self.idat.append(chunk)
        elif chunk.type == b"eXIf":
            self.exif = _data(self._stream, chunk, MAX_TEXT)
        elif chunk.type == b"acTL":
            self.frames = max(int.from_bytes(_data(self._stream, chunk, 4), "big"), 1)
        elif chunk.type == b"cICP":
            data = _data(self._stream, chunk, 2)
            self.code_points = (data[0], data[1]) if len(data) > 1 else None
        elif chunk.type == b"sRGB":
            self.is_srgb = True
        elif chunk.type == b"iCCP" and self.profile is None:
            self.profile = self._profile(chunk)
        elif chunk.type in (b"tEXt", b"zTXt", b"iTXt"):
            self._take_text(*text_of(self._stream, chunk))

    def _profile(self, chunk: Chunk) -> bytes | None:
        if not _checksum_holds(self._stream, chunk):
            return None
        packed = _data(self._stream, chunk, chunk.size).partition(b"\x00")[2][1:]
        profile = _inflate(self._stream, packed, MAX_PROFILE)
        if profile is None:
            raise ImageTooLarge(
                f"Its colour profile unpacks to more than the {MAX_PROFILE} bytes that are allowed. "
                "Save it again without its profile."
            )
        return profile or None

    def _take_text(self, keyword: bytes, text: bytes | None) -> None:
        if text and keyword in (b"Raw profile type exif", b"Raw profile type APP1"):
            self.exif = self.exif or raw_profile(text)


def read_png(stream: BinaryIO) -> PngFacts:
    """Read the facts from the chunks of a PNG file.

    Raises:
        CorruptImage: the header is missing.
        ImageTooLarge: the profile decompresses to more than `MAX_PROFILE` bytes.
    """
    found = chunks(stream)
    first = next(found, None)
    if first is None or first.type != b"IHDR":
        raise CorruptImage("The PNG file does not begin with its header. Send the original file again.")
    header = _header(_data(stream, first, _HEADER_BYTES))
    gathered = _Gatherer(stream)
    for chunk in found:
        gathered.take(chunk)
    return PngFacts(
        header=header,
        frames=gathered.frames,
        exif=gathered.exif,
        profile=gathered.profile,
        code_points=gathered.code_points,
        is_srgb=gathered.is_srgb,
        idat=tuple(gathered.idat),
    )


def without_metadata(stream: BinaryIO) -> Spliced:
    """Return the file without the chunks that its pixels do not need: none of them can stop a decoder then.

    Chunks that change the meaning of the pixels are kept if their checksum is right. Like libpng, this leaves
    out those that are optional and damaged. The profile is in `PngFacts`.
    """
    kept = (
        chunk
        for chunk in chunks(stream)
        if chunk.type in _NEEDED or (chunk.type in _MEANING and _checksum_holds(stream, chunk))
    )
    parts = ((chunk.offset - _HEAD_BYTES, chunk.offset + chunk.size + _CHECKSUM_BYTES) for chunk in kept)
    return Spliced(stream, [(0, SIGNATURE_BYTES), *parts])


def checksums_hold(stream: BinaryIO, facts: PngFacts) -> bool:
    """Return whether every pixel chunk matches its checksum, which Pillow does not verify."""
    return all(_checksum_holds(stream, chunk) for chunk in facts.idat)


def _checksum_holds(stream: BinaryIO, chunk: Chunk) -> bool:
    stream.seek(chunk.offset)
    checksum, left = zlib.crc32(chunk.type), chunk.size
    while left:
        block = stream.read(min(left, _BLOCK))
        if not block:
            return False
        checksum, left = zlib.crc32(block, checksum), left - len(block)
    return stream.read(_CHECKSUM_BYTES) == checksum.to_bytes(_CHECKSUM_BYTES, "big")


def has_all_rows(stream: BinaryIO, facts: PngFacts) -> bool:
    """Return whether the pixel chunks decompress to the whole picture.

    Pillow accepts a compressed stream that ends early, and leaves the missing rows black. This decompresses
    everything again, in blocks of a constant size.
    """
    inflater = zlib.decompressobj()
    found = 0
    for chunk in facts.idat:
        stream.seek(chunk.offset)
        left = chunk.size
        while left and not inflater.eof:
            packed = stream.read(min(left, _BLOCK))
            if not packed:
                return False
            left -= len(packed)
            while packed and not inflater.eof:
                found += len(inflater.decompress(packed, _BLOCK))
                packed = inflater.unconsumed_tail
    return found >= facts.header.inflated_bytes

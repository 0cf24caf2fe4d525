"""How the first page of a TIFF file is stored: its samples, their layout and their meaning.

Nothing here decodes. Sources: TIFF 6.0; Adobe's technical notes on TIFF (floating-point predictor, Lab); the
registered values of the tags Compression and PhotometricInterpretation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from media_files.imaging.formats.tiff import Directory, TiffError, TiffReader

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_OFFSETS, _SAMPLES, _ROWS, _COUNTS, _PLANAR, _PREDICTOR, _COLOUR_MAP = 273, 277, 278, 279, 284, 317, 320
_TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_COUNTS = 322, 323, 324, 325
_EXTRA_SAMPLES, _SAMPLE_FORMAT, _COEFFICIENTS, _SUBSAMPLING, _REFERENCE = 338, 339, 529, 530, 532
_PROFILE, _LERC = 34675, 50674
_MAX_PROFILE: Final = 4 << 20
MAX_PIECES: Final = 262_144
"""Most strips or tiles of a page that are read."""

COMPRESSIONS: Final[Mapping[int, str]] = MappingProxyType(
    {
        1: "none",
        2: "CCITT RLE",
        3: "CCITT group 3",
        4: "CCITT group 4",
        5: "LZW",
        6: "old-style JPEG",
        7: "JPEG",
        8: "deflate",
        32766: "NeXT",
        32771: "CCITT RLE, word-aligned",
        32773: "PackBits",
        32809: "ThunderScan",
        32908: "PixarFilm",
        32909: "PixarLog",
        32946: "deflate",
        33003: "JPEG 2000",
        33004: "JPEG 2000",
        33005: "JPEG 2000",
        34661: "JBIG",
        34676: "SGILog",
        34677: "SGILog, 24 bits",
        34712: "JPEG 2000",
        34887: "LERC",
        34892: "lossy JPEG of a DNG",
        34925: "LZMA",
        50000: "Zstandard",
        50001: "WebP",
        50002: "JPEG XL",
        52546: "JPEG XL",
    }
)
"""The names of compressions, by the value of the tag."""

PHOTOMETRICS: Final[Mapping[int, str]] = MappingProxyType(
    {
        0: "white is zero",
        1: "black is zero",
        2: "RGB",
        3: "palette",
        4: "mask",
        5: "CMYK",
        6: "YCbCr",
        8: "CIELab",
        9: "ICCLab",
        10: "ITULab",
        32803: "colour filter array",
        32844: "LogL",
        32845: "LogLuv",
        34892: "linear raw",
    }
)
"""The names of what samples mean, by the value of the tag PhotometricInterpretation."""

COLOURS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "white is zero": 1,
        "black is zero": 1,
        "palette": 1,
        "RGB": 3,
        "YCbCr": 3,
        "CIELab": 3,
        "ICCLab": 3,
        "CMYK": 4,
    }
)
"""How many samples hold the colour. Those that follow are alpha, or unknown."""

SampleFormat = Literal["uint", "int", "float"]
Alpha = Literal["none", "associated", "unassociated", "unknown"]
_SAMPLE_FORMATS: Final[Mapping[int, SampleFormat]] = {1: "uint", 2: "int", 3: "float", 4: "uint"}
_ALPHAS: Final[Mapping[int, Alpha]] = {1: "associated", 2: "unassociated"}


@dataclass(frozen=True, slots=True)
class TiffLayout:
    """The first page of a TIFF file.

    Attributes:
        size: width and height of the stored picture, px.
        order: ``<`` or ``>``, the byte order of samples.
        bits: per sample; 0 if the samples differ.
        sample_format: what the bits of a sample are.
        samples: per pixel.
        meaning: what the samples mean, such as ``RGB``; the number for a value that is not registered.
        alpha: the meaning of the sample behind those of the colour.
        compression: name of the compression; the number for a value that is not registered.
        predictor: 1 for none, 2 for differences, 3 for differences of floating-point bytes.
        reversed_bits: whether the lowest bit of a byte comes first.
        planar: whether each sample has its own plane.
        tiled: whether the pieces are tiles, else strips.
        piece: width and height of a piece, px. Tiles are filled up at the edges; strips are not.
        offsets: of the pieces in the file, plane by plane, row by row.
        counts: bytes of the pieces.
        colour_map: red values, then green, then blue; empty without a palette.
        subsampling: pixels that share a colour difference, in a row and in a column.
        coefficients: of red, green and blue in luma.
        reference: black and white of Y, Cb and Cr.
        packed_lerc: how LERC's own bytes are packed: 0 for not at all, 1 by deflate, 2 by Zstandard.
        profile: the ICC profile.
    """

    size: tuple[int, int]
    order: Literal["<", ">"]
    bits: int
    sample_format: SampleFormat | None
    samples: int
    meaning: str
    alpha: Alpha
    compression: str
    predictor: int
    reversed_bits: bool
    planar: bool
    tiled: bool
    piece: tuple[int, int]
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    colour_map: tuple[int, ...]
    subsampling: tuple[int, int]
    coefficients: tuple[float, ...]
    reference: tuple[float, ...]
    packed_lerc: int
    profile: bytes | None

    def __str__(self) -> str:
        """Return the combination in words, such as ``16 bits, RGB, planar strips, deflate``."""
        kind = "" if self.sample_format == "uint" else f" ({self.sample_format or 'mixed'})"
        pieces = f"{'planar ' if self.planar else ''}{'tiles' if self.tiled else 'strips'}"
        alpha = "" if self.alpha == "none" else f" with {self.alpha} alpha"
        return f"{self.bits or 'mixed'} bits{kind}, {self.meaning}{alpha}, {pieces}, {self.compression}"


def read_layout(reader: TiffReader, page: Directory) -> TiffLayout:
    """Return the layout of a page.

    Raises:
        TiffError: the tags contradict each other.
    """
    entries = page.entries

    def integer(tag: int, default: int) -> int:
        return reader.integer(entries.get(tag), default)

    bits = reader.integers(entries.get(_BITS)) or (1,)
    formats = reader.integers(entries.get(_SAMPLE_FORMAT)) or (1,)
    samples = integer(_SAMPLES, 1)
    meaning = _name(PHOTOMETRICS, integer(_PHOTOMETRIC, 1), "photometric interpretation")
    width, height = integer(_WIDTH, 0), integer(_LENGTH, 0)
    if width < 1 or height < 1 or samples < 1:
        raise TiffError(f"a picture of {width} x {height} pixels of {samples} samples")
    tiled = _TILE_OFFSETS in entries or _TILE_WIDTH in entries
    rows = integer(_ROWS, height)
    piece = (
        (integer(_TILE_WIDTH, 0), integer(_TILE_LENGTH, 0)) if tiled else (width, min(rows, height) or height)
    )
    if min(piece) < 1:
        raise TiffError(f"pieces of {piece[0]} x {piece[1]} pixels")
    return TiffLayout(
        size=(width, height),
        order=reader.order,
        bits=bits[0] if len(set(bits[:samples])) == 1 else 0,
        sample_format=_SAMPLE_FORMATS.get(formats[0]) if len(set(formats[:samples])) == 1 else None,
        samples=samples,
        meaning=meaning,
        alpha=_alpha(reader, page, samples - COLOURS.get(meaning, samples)),
        compression=_name(COMPRESSIONS, integer(_COMPRESSION, 1), "scheme"),
        predictor=integer(_PREDICTOR, 1),
        reversed_bits=integer(_FILL_ORDER, 1) == 2,
        planar=integer(_PLANAR, 1) == 2 and samples > 1,
        tiled=tiled,
        piece=piece,
        offsets=reader.integers(entries.get(_TILE_OFFSETS if tiled else _OFFSETS), MAX_PIECES),
        counts=reader.integers(entries.get(_TILE_COUNTS if tiled else _COUNTS), MAX_PIECES),
        colour_map=reader.integers(entries.get(_COLOUR_MAP), 3 << 16),
        subsampling=_pair(reader.integers(entries.get(_SUBSAMPLING)) or (2, 2)),
        coefficients=_ratios(reader, page, _COEFFICIENTS, (0.299, 0.587, 0.114)),
        reference=_ratios(reader, page, _REFERENCE, (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)),
        packed_lerc=(*reader.integers(entries.get(_LERC)), 0, 0)[1],
        profile=reader.raw(entries.get(_PROFILE), _MAX_PROFILE) or None,
    )


def _name(names: Mapping[int, str], value: int, tag: str) -> str:
    return names.get(value, f"{tag} {value}")


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    return (values[0], values[1]) if len(values) > 1 else (values[0], values[0])


def _alpha(reader: TiffReader, page: Directory, extra: int) -> Alpha:
    """Return the meaning of the first extra sample; ``unknown`` if the file does not say."""
    if extra < 1:
        return "none"
    values = reader.integers(page.entries.get(_EXTRA_SAMPLES))
    return _ALPHAS.get(values[0], "unknown") if values else "unknown"


def _ratios(reader: TiffReader, page: Directory, tag: int, default: tuple[float, ...]) -> tuple[float, ...]:
    pairs = reader.rationals(page.entries.get(tag))[: len(default)]
    if len(pairs) < len(default) or any(below == 0 for _, below in pairs):
        return default
    return tuple(above / below for above, below in pairs)

"""Every kind of image in `docs/formats.md`: how it is written, and what it shows.

The files are written by other programs, not by Pillow.

A builder gets an empty folder and returns the file and the pixels that it shows. The image it writes is
`reference`; where the format cannot hold that exactly, a third program reads back what the file shows.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from media_files.tests.tools import profile, run
from proxies.tests.reference import Pixels, alpha, grey, read, reference, turned, write_pnm

KEPT = 500
"""Columns of the reference that stay opaque where the rest is made transparent."""

Built = tuple[Path, Pixels]
Builder = Callable[[Path], Built]


@dataclass(frozen=True)
class Kind:
    """One row of the table.

    Attributes:
        name: the row's label.
        maker: the program that writes the file.
        build: writes the file.
        format: the proxy's format, or the code of the error that refuses the file.
        reasons: why a proxy is needed, apart from the size.
        limit: maximum mean colour difference, CIEDE2000.
        facts: expected values of `ImageFacts`.
        provenance: expected values of the proxy's provenance.
    """

    name: str
    maker: str
    build: Builder
    format: str = "JPEG"
    reasons: tuple[str, ...] = ()
    limit: float = 1.0
    facts: tuple[tuple[str, object], ...] = ()
    provenance: tuple[tuple[str, object], ...] = ()

    @property
    def refused(self) -> bool:
        """Whether the file must be refused; ``format`` is then the error code."""
        return self.format.islower()


def _ppm(folder: Path) -> Path:
    return write_pnm(folder / "source.ppm", reference())


def _cjpeg(*options: str, shows: Callable[[Pixels], Pixels] = lambda pixels: pixels) -> Builder:
    def build(folder: Path) -> Built:
        run("cjpeg", "-quality", "95", *options, "-outfile", folder / "a.jpg", _ppm(folder))
        return folder / "a.jpg", shows(reference())

    return build


def _convert(
    suffix: str, *options: str, shows: Callable[[Pixels], Pixels] = lambda pixels: pixels
) -> Builder:
    def build(folder: Path) -> Built:
        run("convert", _ppm(folder), *options, f"{folder}/a.{suffix}")
        return folder / f"a.{suffix}", shows(reference())

    return build


def _vips(suffix: str, options: str = "", *steps: tuple[str, ...]) -> Builder:
    """Build with vips: each step is an operation with its arguments; the last result is saved."""

    def build(folder: Path) -> Built:
        current = _ppm(folder)
        for number, (operation, *arguments) in enumerate(steps):
            following = folder / f"{number}.v"
            run("vips", operation, current, following, *arguments)
            current = following
        run("vips", "copy", current, f"{folder}/a.{suffix}{options}")
        return folder / f"a.{suffix}", reference()

    return build


def _deep(depth: int, build_from: Callable[[Path, Path], Path], *, single: bool = False) -> Builder:
    """Build from a source of 16 bits per sample."""

    def build(folder: Path) -> Built:
        pixels = grey(reference()) if single else reference()
        source = write_pnm(folder / "deep.ppm", pixels, depth, single=single)
        return build_from(folder, source), pixels

    return build


def _by_convert(suffix: str, *options: str) -> Callable[[Path, Path], Path]:
    def build(folder: Path, source: Path) -> Path:
        run("convert", source, *options, f"{folder}/a.{suffix}")
        return folder / f"a.{suffix}"

    return build


def _by_vips(suffix: str, options: str = "") -> Callable[[Path, Path], Path]:
    def build(folder: Path, source: Path) -> Path:
        run("vips", "copy", source, f"{folder}/a.{suffix}{options}")
        return folder / f"a.{suffix}"

    return build


def _oriented(orientation: int, write: Callable[[Path, Path], Path]) -> Builder:
    """Store rotated pixels, and have exiftool write the EXIF orientation that undoes the rotation."""

    def build(folder: Path) -> Built:
        path = write(folder, write_pnm(folder / "turned.ppm", turned(reference(), orientation)))
        run("exiftool", "-q", "-n", f"-Orientation={orientation}", "-overwrite_original", path)
        return path, reference()

    return build


def _jpeg_of(folder: Path, source: Path) -> Path:
    run("cjpeg", "-quality", "95", "-sample", "1x1", "-outfile", folder / "a.jpg", source)
    return folder / "a.jpg"


def _webp_of(folder: Path, source: Path) -> Path:
    run("cwebp", "-quiet", "-q", "95", source, "-o", folder / "a.webp")
    return folder / "a.webp"


def _no_end(folder: Path) -> Built:
    path, pixels = _cjpeg()(folder)
    path.write_bytes(path.read_bytes()[:-2])
    return path, pixels


def _with_profile(suffix: str, name: str, *options: str) -> Builder:
    """Attach a profile that gives the pixels other colours than sRGB; Little CMS says which."""

    def build(folder: Path) -> Built:
        path = folder / f"a.{suffix}"
        run("convert", _ppm(folder), *options, "-profile", profile(name), path)
        intent = ("-intent", "relative", "-black-point-compensation", "-profile", str(profile("sRGB")))
        return path, read(path, *intent)

    return build


def _press_cmyk(suffix: str, *options: str) -> Builder:
    """Convert the reference to ink and back: both lose the colours that ink cannot show."""

    def build(folder: Path) -> Built:
        path = folder / f"a.{suffix}"
        srgb, press = str(profile("sRGB")), str(profile("press CMYK"))
        intent = ("-intent", "relative", "-black-point-compensation")
        run("convert", _ppm(folder), *intent, "-profile", srgb, "-profile", press, *options, path)
        return path, read(path, *intent, "-profile", srgb)

    return build


def _plain_cmyk(suffix: str) -> Builder:
    def build(folder: Path) -> Built:
        path = folder / f"a.{suffix}"
        run("convert", _ppm(folder), "-colorspace", "CMYK", "-quality", "95", path)
        return path, read(path, "-colorspace", "sRGB")

    return build


def _adobe_segment(data: bytes) -> tuple[int, int]:
    """Return the start and end of Adobe's APP14 segment."""
    start = data.index(b"\xff\xee\x00\x0eAdobe")
    return start, start + 16


def _cmyk_inverted(folder: Path) -> Built:
    tif, pixels = _plain_cmyk("tif")(folder)
    run("vips", "copy", tif, folder / "a.jpg[Q=95]")
    return folder / "a.jpg", pixels


def _cmyk_unmarked(folder: Path) -> Built:
    """Remove Adobe's APP14 segment: every program still treats the samples as inverted."""
    path, _ = _cmyk_inverted(folder)
    data = path.read_bytes()
    start, end = _adobe_segment(data)
    path.write_bytes(data[:start] + data[end:])
    return path, read(path, "-colorspace", "sRGB")


def _transparent(
    suffix: str, *options: str, picture: Callable[[Pixels], Pixels] = lambda pixels: pixels
) -> Builder:
    """Fade the reference to transparent at the right; it is compared over white."""

    def build(folder: Path) -> Built:
        source = write_pnm(folder / "source.ppm", picture(reference()))
        mask = write_pnm(folder / "mask.pgm", np.repeat(alpha()[:, :, None], 3, axis=2), single=True)
        path = folder / f"a.{suffix}"
        compose = ("-alpha", "off", "-compose", "CopyOpacity", "-composite")
        run("convert", source, mask, *compose, *options, path)
        return path, _over_white(picture(reference()), alpha())

    return build


def _over_white(pixels: Pixels, opacity: Pixels) -> Pixels:
    return np.asarray(pixels * opacity[:, :, None] + 1 - opacity[:, :, None])


def _png_for(folder: Path, build: Builder) -> Built:
    path, pixels = build(folder)
    return path.rename(folder / "input.png"), pixels


def _encoded_from_png(program: str, suffix: str, *options: str, source: Builder) -> Builder:
    def build(folder: Path) -> Built:
        png, pixels = _png_for(folder, source)
        target = folder / f"a.{suffix}"
        arguments: dict[str, tuple[str | Path, ...]] = {
            "heif-enc": (*options, "-o", target, png),
            "avifenc": (*options, png, target),
            "cwebp": ("-quiet", *options, png, "-o", target),
        }
        run(program, *arguments[program])
        return target, pixels

    return build


def _turned_avif(option: str, value: int, change: Callable[[Pixels], Pixels]) -> Builder:
    """Rotate or mirror by a property of the container, which viewers must apply."""

    def build(folder: Path) -> Built:
        png, pixels = _png_for(folder, _PNG_8)
        run("avifenc", "-s", "9", option, str(value), png, folder / "a.avif")
        return folder / "a.avif", np.ascontiguousarray(change(pixels))

    return build


_PNG_8 = _convert("png")
_DEEP_PNG = _by_convert("png", "-define", "png:bit-depth=16")
_PNG_16 = _deep(16, _DEEP_PNG)
_PNG_ALPHA = _transparent("png")


def _palette_transparent(folder: Path) -> Built:
    pixels = np.round(reference() * 2) / 2
    pixels[:, KEPT:] = 1
    source = write_pnm(folder / "source.ppm", pixels)
    run("convert", source, "-transparent", "white", f"PNG8:{folder}/a.png")
    return folder / "a.png", pixels


def _colour_key(folder: Path) -> Built:
    """Make white transparent by a colour key; written by hand because no available program does it."""
    pixels = np.round(reference() * 255).astype("u1")
    pixels[:, KEPT:] = 255
    shown = pixels / 255
    return _png(folder, pixels, b"tRNS", struct.pack(">3H", 255, 255, 255)), shown


def _png(folder: Path, pixels: np.ndarray, *extra: bytes, frames: bool = False) -> Path:
    """Write an 8-bit RGB PNG by hand, with one more chunk, given as its type and its data."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\x00" + row.tobytes() for row in pixels)
    chunks = [(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))]
    chunks += [(extra[0], extra[1])] if extra else []
    if frames:
        control = struct.pack(">5I2H2B", 0, width, height, 0, 0, 1, 10, 0, 0)
        chunks += [(b"acTL", struct.pack(">2I", 2, 0)), (b"fcTL", control)]
    chunks.append((b"IDAT", zlib.compress(rows, 1)))
    if frames:
        control = struct.pack(">5I2H2B", 1, width, height, 0, 0, 1, 10, 0, 0)
        black = zlib.compress(bytes(len(rows)), 9)
        chunks += [(b"fcTL", control), (b"fdAT", struct.pack(">I", 2) + black)]
    chunks.append((b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in chunks:
        data += (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )
    (folder / "a.png").write_bytes(data)
    return folder / "a.png"


def _animated_png(folder: Path) -> Built:
    return _png(folder, np.round(reference() * 255).astype("u1"), frames=True), reference()


def _animation(suffix: str) -> Builder:
    def build(folder: Path) -> Built:
        gif = folder / "a.gif"
        run("convert", "-delay", "10", _ppm(folder), "(", _ppm(folder), "-negate", ")", gif)
        if suffix == "webp":
            run("gif2webp", "-quiet", gif, "-o", folder / "a.webp")
        return folder / f"a.{suffix}", read(gif)

    return build


def _two_pages(folder: Path) -> Built:
    run("convert", _ppm(folder), "(", _ppm(folder), "-negate", ")", folder / "a.tif")
    return folder / "a.tif", reference()


def _planes(folder: Path) -> Built:
    run("convert", _ppm(folder), "-compress", "none", folder / "chunky.tif")
    run("tiffcp", "-p", "separate", folder / "chunky.tif", folder / "a.tif")
    return folder / "a.tif", reference()


def _bilevel(suffix: str, *options: str) -> Builder:
    def build(folder: Path) -> Built:
        path = folder / f"a.{suffix}"
        run(
            "convert",
            _ppm(folder),
            "-colorspace",
            "gray",
            "-threshold",
            "50%",
            "-type",
            "bilevel",
            *options,
            path,
        )
        return path, read(path)

    return build


def _grey_levels(depth: int) -> Builder:
    """Write a grey PNG of fewer than 8 bits."""

    def build(folder: Path) -> Built:
        top = (1 << depth) - 1
        pixels = np.round(grey(reference()) * top) / top
        source = write_pnm(folder / "grey.pgm", pixels, single=True)
        run(
            "convert",
            source,
            "-define",
            f"png:bit-depth={depth}",
            "-define",
            "png:color-type=0",
            folder / "a.png",
        )
        return folder / "a.png", pixels

    return build


def _paletted(suffix: str, *options: str) -> Builder:
    """Reduce to 27 colours, which any palette holds exactly."""

    def build(folder: Path) -> Built:
        pixels = np.round(reference() * 2) / 2
        source = write_pnm(folder / "few.ppm", pixels)
        run("convert", source, "+dither", "-type", "palette", *options, f"{folder}/a.{suffix}")
        return folder / f"a.{suffix}", np.round(pixels * 255) / 255

    return build


def _lab_tiff(folder: Path) -> Built:
    run("convert", _ppm(folder), folder / "rgb.tif")
    run("tificc", "-i*sRGB", "-o*Lab", "-t1", folder / "rgb.tif", folder / "a.tif")
    return folder / "a.tif", reference()


def _float_tiff(folder: Path) -> Built:
    """Write grey values from 0 to 1 in floating point."""
    source = write_pnm(folder / "grey.pgm", grey(reference()), single=True)
    run("vips", "linear", source, folder / "a.tif", str(1 / 255), "0")
    return folder / "a.tif", grey(reference())


def _float_rgb_tiff(folder: Path) -> Built:
    run("vips", "linear", _ppm(folder), folder / "a.tif", str(1 / 255), "0")
    return folder / "a.tif", reference()


def _long_tiff(folder: Path) -> Built:
    source = write_pnm(folder / "grey.pgm", grey(reference()), 16, single=True)
    run("vips", "cast", source, folder / "a.tif", "uint")
    return folder / "a.tif", grey(reference())


_NOT_SENT = ("format",)
_DEEP = ("colour",)
# ImageMagick writes the time into PNG files; vips and exiftool write EXIF.
_MARKED = ("metadata",)
_DEEP_MARKED = ("colour", "metadata")
_BOTH = ("format", "colour")
_SAYS_SRGB = (("profile", "srgb"),)
_CONVERTED = (("profile", "converted"),)
_TWO_FRAMES = (("frames", 2),)
_ONE_DROPPED = (("frames_dropped", 1),)

KINDS = (
    Kind("JPEG 4:2:0, baseline", "cjpeg", _cjpeg()),
    Kind("JPEG 4:4:4", "cjpeg", _cjpeg("-sample", "1x1")),
    Kind("JPEG 4:2:2", "cjpeg", _cjpeg("-sample", "2x1")),
    Kind("JPEG 4:4:0", "cjpeg", _cjpeg("-sample", "1x2")),
    Kind("JPEG 4:1:1", "cjpeg", _cjpeg("-sample", "4x1")),
    Kind("JPEG 4:1:0", "cjpeg", _cjpeg("-sample", "4x2")),
    Kind("JPEG progressive", "cjpeg", _cjpeg("-progressive")),
    Kind("JPEG optimised, restart markers", "cjpeg", _cjpeg("-optimize", "-restart", "1")),
    Kind("JPEG grey", "cjpeg", _cjpeg("-grayscale", shows=grey)),
    Kind("JPEG stored as RGB", "cjpeg", _cjpeg("-rgb")),
    Kind("JPEG without its end marker", "cjpeg", _no_end),
    Kind("JPEG, arithmetic coding", "cjpeg", _cjpeg("-arithmetic"), format="unsupported_format"),
    Kind("JPEG CMYK with a press profile", "convert", _press_cmyk("jpg", "-quality", "95"), reasons=_DEEP,
         provenance=_CONVERTED),
    Kind("JPEG CMYK without profile, Adobe-inverted", "vips", _cmyk_inverted, reasons=_DEEP_MARKED),
    Kind("JPEG CMYK without profile and without Adobe's mark", "vips", _cmyk_unmarked, reasons=_DEEP_MARKED),
    Kind("JPEG YCCK", "convert", _plain_cmyk("jpg"), reasons=_DEEP),
    Kind("JPEG, sRGB profile", "convert", _with_profile("jpg", "sRGB"), provenance=_SAYS_SRGB),
    Kind("JPEG, Adobe RGB", "convert", _with_profile("jpg", "Adobe RGB"), reasons=_DEEP,
         provenance=_CONVERTED),
    Kind("JPEG, ProPhoto RGB", "convert", _with_profile("jpg", "ProPhoto RGB"), reasons=_DEEP,
         provenance=_CONVERTED),
    Kind("JPEG, profile that exchanges red and green", "convert",
         _with_profile("jpg", "exchanged red and green"), reasons=_DEEP, provenance=_CONVERTED),
    Kind("JPEG grey, grey profile", "convert", _with_profile("jpg", "grey", "-colorspace", "gray")),
    *(Kind(f"JPEG, orientation {n}", "cjpeg, exiftool", _oriented(n, _jpeg_of),
           reasons=("orientation", "metadata") if n > 1 else _MARKED, facts=(("orientation", n),))
      for n in range(1, 9)),
    *(Kind(f"PNG, orientation {n} (eXIf)", "convert, exiftool", _oriented(n, _by_convert("png")),
           reasons=("orientation", "metadata"), facts=(("orientation", n),)) for n in range(2, 9)),
    *(Kind(f"WebP, orientation {n}", "cwebp, exiftool", _oriented(n, _webp_of),
           reasons=("orientation", "metadata"), facts=(("orientation", n),)) for n in range(2, 9)),
    *(Kind(f"TIFF, orientation {n}", "convert, exiftool", _oriented(n, _by_convert("tif")),
           reasons=("format", "orientation"), facts=(("orientation", n),)) for n in range(2, 9)),
    Kind("PNG RGB, 8 bits", "convert", _PNG_8, reasons=_MARKED),
    Kind("PNG RGB, interlaced", "convert", _convert("png", "-interlace", "PNG"), reasons=_MARKED),
    Kind("PNG RGB, 16 bits", "convert", _PNG_16, reasons=_DEEP_MARKED),
    Kind("PNG grey, 8 bits", "convert", _grey_levels(8), reasons=_MARKED),
    Kind("PNG grey, 16 bits", "convert", _deep(16, _DEEP_PNG, single=True), reasons=_DEEP_MARKED),
    Kind("PNG grey, 4 bits", "convert", _grey_levels(4), reasons=_MARKED),
    Kind("PNG grey, 2 bits", "convert", _grey_levels(2), reasons=_MARKED),
    Kind("PNG, 1 bit", "convert",
         _bilevel("png", "-define", "png:bit-depth=1", "-define", "png:color-type=0"), reasons=_MARKED),
    Kind("PNG palette", "convert", _paletted("png"), reasons=_MARKED),
    Kind("PNG palette with clear entries", "convert", _palette_transparent, format="PNG", reasons=_MARKED),
    Kind("PNG RGB with a colour key", "by hand", _colour_key, format="PNG"),
    Kind("PNG RGBA", "convert", _PNG_ALPHA, format="PNG", reasons=_MARKED, provenance=(("alpha", "kept"),)),
    Kind("PNG RGBA, 16 bits", "convert", _transparent("png", "-define", "png:bit-depth=16"), format="PNG",
         reasons=_DEEP_MARKED),
    Kind("PNG grey with alpha", "convert",
         _transparent("png", "-define", "png:color-type=4", picture=grey), format="PNG", reasons=_MARKED),
    Kind("PNG RGBA, opaque throughout", "convert",
         _convert("png", "-alpha", "set", "-define", "png:color-type=6"), reasons=_MARKED,
         provenance=(("alpha", "none"),)),
    Kind("PNG, Adobe RGB", "convert", _with_profile("png", "Adobe RGB"), reasons=_DEEP_MARKED,
         provenance=_CONVERTED),
    Kind("APNG (first frame)", "by hand", _animated_png, facts=_TWO_FRAMES, provenance=_ONE_DROPPED),
    Kind("GIF", "convert", _paletted("gif")),
    Kind("GIF, interlaced", "convert", _paletted("gif", "-interlace", "GIF")),
    Kind("GIF, animated (first frame)", "convert", _animation("gif"), facts=_TWO_FRAMES,
         provenance=_ONE_DROPPED),
    Kind("WebP lossy", "cwebp", _encoded_from_png("cwebp", "webp", "-q", "95", source=_PNG_8)),
    Kind("WebP lossless", "cwebp", _encoded_from_png("cwebp", "webp", "-lossless", "-z", "1", source=_PNG_8)),
    Kind("WebP lossy with alpha", "cwebp", _encoded_from_png("cwebp", "webp", "-q", "95", source=_PNG_ALPHA),
         format="PNG"),
    Kind("WebP, animated (first frame)", "gif2webp", _animation("webp"), facts=_TWO_FRAMES,
         provenance=_ONE_DROPPED),
    Kind("TIFF RGB, uncompressed", "convert", _convert("tif", "-compress", "none"), reasons=_NOT_SENT),
    Kind("TIFF RGB, LZW", "convert", _convert("tif", "-compress", "lzw"), reasons=_NOT_SENT),
    Kind("TIFF RGB, big-endian", "convert", _convert("tif", "-endian", "msb"), reasons=_NOT_SENT),
    Kind("TIFF RGB, deflate, tiled", "vips", _vips("tif", "[tile,compression=deflate]"), reasons=_NOT_SENT),
    Kind("TIFF RGB, JPEG inside", "vips", _vips("tif", "[compression=jpeg,Q=95]"), reasons=_NOT_SENT),
    Kind("TIFF pyramid (first page)", "vips", _vips("tif", "[tile,pyramid,compression=lzw]"),
         reasons=_NOT_SENT),
    Kind("BigTIFF", "vips", _vips("tif", "[bigtiff]"), reasons=_NOT_SENT),
    Kind("TIFF RGB, planes apart", "convert, tiffcp", _planes, reasons=_NOT_SENT),
    Kind("TIFF of two pages (first page)", "convert", _two_pages, reasons=_NOT_SENT, facts=_TWO_FRAMES,
         provenance=_ONE_DROPPED),
    Kind("TIFF RGB, 16 bits, little-endian", "vips", _deep(16, _by_vips("tif")), reasons=_BOTH),
    Kind("TIFF RGB, 16 bits, big-endian", "convert", _deep(16, _by_convert("tif", "-endian", "msb")),
         reasons=_BOTH),
    Kind("TIFF grey, 16 bits, little-endian", "convert",
         _deep(16, _by_convert("tif", "-endian", "lsb"), single=True), reasons=_BOTH),
    Kind("TIFF grey, 16 bits, big-endian", "convert",
         _deep(16, _by_convert("tif", "-endian", "msb"), single=True), reasons=_BOTH),
    Kind("TIFF RGBA, 16 bits", "convert", _transparent("tif", "-depth", "16"), format="PNG", reasons=_BOTH),
    Kind("TIFF grey, 32 bits", "vips", _long_tiff, reasons=_BOTH),
    Kind("TIFF grey, floating point", "vips", _float_tiff, reasons=_BOTH),
    Kind("TIFF RGB, floating point", "vips", _float_rgb_tiff, reasons=_BOTH),
    Kind("TIFF CMYK with a press profile", "convert", _press_cmyk("tif"), reasons=_BOTH,
         provenance=_CONVERTED),
    Kind("TIFF CMYK without profile", "convert", _plain_cmyk("tif"), reasons=_BOTH),
    Kind("TIFF CIE L*a*b*, 8 bits", "tificc", _lab_tiff, reasons=_BOTH),
    Kind("TIFF palette", "convert", _paletted("tif"), reasons=_NOT_SENT),
    Kind("TIFF, 1 bit, CCITT group 4", "convert", _bilevel("tif", "-compress", "group4"), reasons=_NOT_SENT),
    Kind("BMP, 24 bits", "convert", _convert("bmp"), reasons=_NOT_SENT),
    Kind("BMP, palette", "convert", _paletted("bmp"), reasons=_NOT_SENT),
    Kind("JPEG 2000, lossless", "vips", _vips("jp2", "[lossless]"), reasons=_NOT_SENT),
    Kind("JPEG 2000, lossy", "vips", _vips("jp2", "[Q=80]"), reasons=_NOT_SENT),
    Kind("JPEG 2000, 16 bits", "vips", _deep(16, _by_vips("jp2", "[lossless]")), reasons=_NOT_SENT),
    Kind("HEIC, 8 bits", "heif-enc", _encoded_from_png("heif-enc", "heic", "-q", "90", source=_PNG_8),
         reasons=_NOT_SENT),
    Kind("HEIC, 10 bits", "heif-enc",
         _encoded_from_png("heif-enc", "heic", "-q", "90", "-b", "10", source=_PNG_16),
         reasons=_BOTH),
    Kind("HEIC with alpha", "heif-enc", _encoded_from_png("heif-enc", "heic", "-q", "90", source=_PNG_ALPHA),
         format="PNG", reasons=_NOT_SENT),
    Kind("AVIF, 8 bits", "avifenc", _encoded_from_png("avifenc", "avif", "-s", "8", source=_PNG_8),
         reasons=_NOT_SENT),
    Kind("AVIF, 10 bits", "avifenc",
         _encoded_from_png("avifenc", "avif", "-s", "8", "-d", "10", source=_PNG_16), reasons=_NOT_SENT),
    *(Kind(f"AVIF, turned by {90 * n} degrees (irot)", "avifenc",
           _turned_avif("--irot", n, partial(np.rot90, k=n)), reasons=("format", "orientation"),
           facts=(("orientation", {1: 8, 2: 3, 3: 6}[n]),)) for n in (1, 2, 3)),
    *(Kind(f"AVIF, mirrored {way} (imir)", "avifenc",
           _turned_avif("--imir", axis, partial(np.flip, axis=axis)),
           reasons=("format", "orientation"), facts=(("orientation", 4 - 2 * axis),))
      for axis, way in enumerate(("top to bottom", "left to right"))),
    Kind("AVIF with alpha", "avifenc", _encoded_from_png("avifenc", "avif", "-s", "8", source=_PNG_ALPHA),
         format="PNG", reasons=_NOT_SENT),
)  # fmt: skip

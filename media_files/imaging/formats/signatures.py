"""Identify a file by its first bytes. Its name and declared type are never trusted.

Signatures are those of the formats' own specifications: ISO/IEC 14496-12 section 4.3 (``ftyp``), RFC 9559
section 11.1.1 (EBML), the RIFF containers of WebP and AVI, and the IANA media type registrations.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

HEAD_BYTES: Final = 512
"""Number of leading bytes that every function of this module needs at most."""

_IMAGE_PREFIXES: Final = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"BM", "BMP"),
)

_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_HEIF_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_NEUTRAL_BRANDS: Final = frozenset({b"mif1", b"msf1", b"mif2", b"miaf"})
"""Brands that indicate an image file but leave its codec to the list of compatible brands."""

_VIDEO_MAJORS: Final = (b"iso", b"mp4", b"qt  ", b"avc1", b"M4", b"3g", b"F4V", b"dash", b"msnv", b"mmp4")
"""What major brands of videos begin with. Any other leaves the decision to the compatible brands."""

CONTENT_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "JPEG": "image/jpeg",
        "PNG": "image/png",
        "GIF": "image/gif",
        "WEBP": "image/webp",
        "TIFF": "image/tiff",
        "BMP": "image/bmp",
        "JPEG2000": "image/jp2",
        "HEIF": "image/heif",
        "AVIF": "image/avif",
    }
)
"""Every supported format, by Pillow's name, with the media type to serve it as."""

_OTHERS: Final = (
    (b"%PDF-", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"\xc5\xd0\xd3\xc6", "an EPS document"),
    (b"PK\x03\x04", "a ZIP archive (or a document packed as one)"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"8BPS", "a Photoshop document"),
    (b"gimp xcf", "a GIMP document"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "a JPEG XL image"),
    (b"II\xbc", "a JPEG XR image"),
    (b"FUJIFILM", "a Fujifilm camera raw file"),
    (b"IIRO", "an Olympus camera raw file"),
    (b"IIRS", "an Olympus camera raw file"),
    (b"IIU\x00", "a Panasonic camera raw file"),
    (b"\x00\x00\x01\x00", "an icon"),
    (b"v/1\x01", "an OpenEXR image"),
    (b"#?RADIANCE", "a Radiance HDR image"),
    (b"SIMPLE  =", "a FITS image"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile"),
    (b"ID3", "an MP3 recording"),
    (b"OggS", "an Ogg recording"),
    (b"fLaC", "a FLAC recording"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"SQLite format 3\x00", "an SQLite database"),
)

_MARKUP: Final = (
    (b"<svg", "an SVG drawing"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "an XML document"),
)

_VIDEO_PREFIXES: Final = (
    (b"\x1a\x45\xdf\xa3", ("MATROSKA", "video/x-matroska")),
    (b"FLV\x01", ("FLV", "video/x-flv")),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", ("ASF", "video/x-ms-wmv")),
    (b"\x00\x00\x01\xba", ("MPEG", "video/mpeg")),
    (b"\x00\x00\x01\xb3", ("MPEG", "video/mpeg")),
)
_QUICKTIME_ATOMS: Final = frozenset({b"moov", b"mdat", b"wide", b"pnot"})
_OTHER_FTYP: Final[Mapping[bytes, str]] = MappingProxyType(
    {b"crx ": "a Canon camera raw file", b"M4A ": "an MPEG-4 recording", b"jxl ": "a JPEG XL image"}
)


def _brands(head: bytes) -> tuple[bytes, frozenset[bytes]] | None:
    """Return the major brand and all brands of an ISO base media file, or None for any other file."""
    if head[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(head[:4], "big"), len(head))
    compatible = (head[at : at + 4] for at in range(16, end - 3, 4))
    return head[8:12], frozenset({head[8:12], *compatible})


def _sniff_iso_image(head: bytes) -> str | None:
    """Return ``AVIF`` or ``HEIF`` for an ISO base media file with an image, otherwise None."""
    found = _brands(head)
    if found is None:
        return None
    major, brands = found
    if major in _AVIF_BRANDS or (major in _NEUTRAL_BRANDS and brands & _AVIF_BRANDS):
        return "AVIF"
    if major in _HEIF_BRANDS | _NEUTRAL_BRANDS:
        return "HEIF"
    if major in _OTHER_FTYP or major.startswith(_VIDEO_MAJORS):
        return None
    # Cameras and programs have brands of their own, and add those of the standards that the file follows.
    if brands & _AVIF_BRANDS:
        return "AVIF"
    return "HEIF" if brands & (_HEIF_BRANDS | _NEUTRAL_BRANDS) else None


def sniff_image(head: bytes) -> str | None:
    """Return Pillow's name of the supported image format that starts with ``head``, or None."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    for prefix, name in _IMAGE_PREFIXES:
        if head.startswith(prefix):
            return name
    return _sniff_iso_image(head)


def _sniff_iso_video(head: bytes) -> tuple[str, str] | None:
    if head[4:8] in _QUICKTIME_ATOMS:
        return "MOV", "video/quicktime"
    found = _brands(head)
    if found is None or found[0] in _OTHER_FTYP or _sniff_iso_image(head):
        return None
    return ("MOV", "video/quicktime") if found[0] == b"qt  " else ("MP4", "video/mp4")


def sniff_video(head: bytes) -> tuple[str, str] | None:
    """Return the format name and media type of a video, or None for anything else.

    Args:
        head: the first `HEAD_BYTES` of the file (fewer if it is shorter).
    """
    for prefix, found in _VIDEO_PREFIXES:
        if head.startswith(prefix):
            return ("WEBM", "video/webm") if found[0] == "MATROSKA" and b"webm" in head[:64] else found
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "AVI", "video/x-msvideo"
    if head[:1] == b"G" and head[188:189] == b"G" and head[376:377] == b"G":
        return "MPEG-TS", "video/mp2t"
    return _sniff_iso_video(head)


def _markup(head: bytes) -> str | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for prefix, name in _MARKUP:
        if text.startswith(prefix):
            return _MARKUP[0][1] if b"<svg" in text else name
    return None


def describe_other(head: bytes) -> str:
    """Describe an unsupported file with a noun phrase for an error message."""
    for prefix, name in _OTHERS:
        if head.startswith(prefix):
            return name
    if head[4:8] == b"ftyp" and head[8:12] in _OTHER_FTYP:
        return _OTHER_FTYP[head[8:12]]
    return _markup(head) or f"a file of a kind unknown here (its first bytes are {head[:8].hex(' ')})"

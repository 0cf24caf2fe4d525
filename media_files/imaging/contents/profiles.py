"""Recognize colour profiles that contain nothing but colour.

A profile is itself a container: its texts, private tags and the gaps between its tags can hold anything.
A profile is known if it is on a list, or if its every byte belongs to a number used to calculate colours
or to a text on a list. Source: ICC.1:2022, sections 7 to 10.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import Final

MAX_BYTES: Final = 65_536
"""Largest profile that is examined, in bytes. Display and colour space profiles take 0.5 to 25 KB."""

_KNOWN: Final = frozenset(
    {
        # colord-data: sRGB, Adobe RGB (1998), ProPhoto RGB, Rec. 709, swapped red and green.
        "c87e049275a6729f0fb5afd533d35e4baf7e73bac68d780cfb7690bfa37ea451",
        "ba7062c37f90353145601f79fd05e3bf74b844dc3fb78f28f9d7afdd192272f8",
        "131134477dbb07229ead5bda1b2f6d5934d1e708c622d8013476ba18c7a32347",
        "1ba328c21d837a559f926aed6f7bc46727e70e32236b849094f5e26d1296a9f2",
        "4870b852a0a792a6f7e3ffb35289ff6f1466ae5b64b33e23cd54b911dffa0af0",
        # libgs-common: default RGB, grey and CMYK, sRGB, grey, Adobe RGB.
        "eddaf344b5edea13269e0d20055f335610e5e0b6e33e6e536f2701bc18c5f7d5",
        "d3aaaa8ad45ec8a0108fd393a07488073ee24561fd5ed2d1f88c59771278cabd",
        "8472fa1493a024b800b67dee9424835ec0c41ab79490200ae8ec4a689fd1b9a9",
        "0976fe7bc0f118a47c89747cb707c6f76044b48baf670dad811d0514bc2c4214",
        "c0995b8b196223f1c029c013b04d0ee11bce3d3dd8a23f814cac73e50ac0719a",
    }
)
"""SHA-256 of published profiles that are identical everywhere."""

_TEXTS: Final = frozenset(
    {
        "",
        "Adobe RGB (1998)",
        "Copyright (c) 1998 Hewlett-Packard Company",
        "Copyright 1999 Adobe Systems Incorporated",
        "Copyright 2000 Adobe Systems Incorporated",
        "Copyright Artifex Software 2010",
        "Copyright Artifex Software 2011",
        "Copyright Artifex Software 2018",
        "Artifex Software sRGB ICC Profile",
        "Artifex Software sGray ICC Profile",
        "Artifex PS Gray Profile",
        "Artifex PS RGB Profile",
        "Apple RGB",
        "CC0",
        "Display P3",
        "Dot Gain 20%",
        "GIMP built-in sRGB",
        "Generic Gray Gamma 2.2 Profile",
        "Generic RGB Profile",
        "Gray built-in",
        "Gray Gamma 2.2",
        "IEC 61966-2.1 Default RGB colour space - sRGB",
        "IEC 61966-2-1 Default RGB Colour Space - sRGB",
        "IEC http://www.iec.ch",
        "No copyright, use freely",
        "ProPhoto RGB",
        "Public Domain",
        "RGB built-in",
        "Reference Viewing Condition in IEC 61966-2-1",
        "Reference Viewing Condition in IEC61966-2.1",
        "c2",
        "c2ci",
        "sGry",
        "sRGB",
        "sRGB IEC61966-2-1 black scaled",
        "sRGB IEC61966-2.1",
        "sRGB built-in",
        "uRGB",
        *(f"Copyright Apple Inc., {year}" for year in range(2003, 2041)),
        *(f"Copyright Apple Computer, Inc., {year}" for year in range(2000, 2010)),
        *(f"Google Inc. {year}" for year in range(2010, 2041)),
    }
)
_TEXT_TAGS: Final = frozenset({b"desc", b"cprt", b"dmnd", b"dmdd", b"vued"})
_SIGNATURES: Final = frozenset(
    {bytes(4), b"ADBE", b"APPL", b"CRT ", b"GOOG", b"HP  ", b"IEC ", b"KODA", b"Lino", b"MSFT", b"PMTR"}
    | {b"ROMM", b"SUNW", b"adbe", b"appl", b"argl", b"lcms", b"none", b"sRGB", b"saws", b"vidm"}
)
_POINTS: Final = frozenset({b"wtpt", b"bkpt", b"rXYZ", b"gXYZ", b"bXYZ", b"lumi"})
_CURVES: Final = frozenset({b"rTRC", b"gTRC", b"bTRC", b"kTRC", b"aarg", b"aagg", b"aabg"})
_PARAMETERS: Final = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}
_FIXED_SIZES: Final = {
    (b"chad", b"sf32"): 44,
    (b"chrm", b"chrm"): 36,
    (b"meas", b"meas"): 36,
    (b"view", b"view"): 36,
    (b"tech", b"sig "): 12,
}
_HEADER: Final = 128
_ENTRY: Final = 12
_MOST_TAGS: Final = 64
_KINDS: Final = ((b"mntr", b"scnr", b"spac"), (b"RGB ", b"GRAY"), (b"XYZ ", b"Lab "))
_D50: Final = bytes.fromhex("0000f6d6000100000000d32d")
_YEARS: Final = range(1990, 2100)


@lru_cache(maxsize=64)
def is_known(profile: bytes) -> bool:
    """Return whether a profile contains nothing but colour."""
    if hashlib.sha256(profile).hexdigest() in _KNOWN:
        return True
    try:
        return len(profile) <= MAX_BYTES and _has_plain_header(profile) and _has_plain_tags(profile)
    except (IndexError, ValueError):
        return False


def _number(data: bytes, at: int, size: int = 4) -> int:
    if at + size > len(data):
        raise ValueError("The profile ends early.")
    return int.from_bytes(data[at : at + size], "big")


def _has_plain_header(data: bytes) -> bool:
    year, *rest = (_number(data, at, 2) for at in range(24, 36, 2))
    is_date = not (year or any(rest)) or (year in _YEARS and max(rest) < 60)
    names = [data[at : at + 4] for at in (4, 40, 48, 52, 80)]
    identity = data[84:100]
    kinds = data[12:16], data[16:20], data[20:24]
    return (
        _number(data, 0) == len(data)
        and data[10:12] == bytes(2)
        and all(kind in known for kind, known in zip(kinds, _KINDS, strict=True))
        and data[36:40] == b"acsp"
        and is_date
        and all(name in _SIGNATURES for name in names)
        and all(_number(data, at) <= 3 for at in (44, 60, 64))
        and data[56:60] == bytes(4)
        and data[68:80] == _D50
        and identity in (bytes(16), _identity(data))
        and data[100:_HEADER] == bytes(28)
    )


def _identity(data: bytes) -> bytes:
    """Return the profile's MD5, without the fields that may change (section 7.2.18)."""
    plain = data[:44] + bytes(4) + data[48:64] + bytes(4) + data[68:84] + bytes(16) + data[100:]
    return hashlib.md5(plain, usedforsecurity=False).digest()


def _has_plain_tags(data: bytes) -> bool:
    count = _number(data, _HEADER)
    if not 0 < count <= _MOST_TAGS:
        return False
    first = _HEADER + 4 + _ENTRY * count
    entries = [data[at : at + _ENTRY] for at in range(_HEADER + 4, first, _ENTRY)]
    tags = [(entry[:4], _number(entry, 4), _number(entry, 8)) for entry in entries]
    return _fill_the_file(data, first, {(at, size) for _, at, size in tags}) and all(
        _is_plain(name, data[at : at + size]) for name, at, size in tags
    )


def _fill_the_file(data: bytes, at: int, spans: set[tuple[int, int]]) -> bool:
    """Return whether the tags fill the file to its last byte, with only padding in between."""
    for start, size in sorted(spans):
        if not 0 <= start - at < 4 or any(data[at:start]):
            return False
        at = start + size
    return 0 <= len(data) - at < 4 and not any(data[at:])


def _is_plain(name: bytes, data: bytes) -> bool:
    kind = data[:4]
    if name in _TEXT_TAGS and kind in _READERS:
        return all(text in _TEXTS for text in _READERS[kind](data))
    if data[4:8] != bytes(4):
        return False
    if name in _POINTS:
        return kind == b"XYZ " and len(data) == 20
    if name in _CURVES:
        return _is_curve(kind, data)
    if (name, kind) == (b"tech", b"sig ") and data[8:] not in _SIGNATURES:
        return False
    return _FIXED_SIZES.get((name, kind)) == len(data)


def _is_curve(kind: bytes, data: bytes) -> bool:
    if kind == b"para":
        return len(data) == 12 + 4 * _PARAMETERS.get(_number(data, 8, 2), -3)
    return kind == b"curv" and len(data) == 12 + 2 * _number(data, 8)


def _plain_text(data: bytes) -> list[str]:
    return [data[8:].rstrip(b"\x00").decode("ascii")]


def _description(data: bytes) -> list[str]:
    """Return the texts of a version 2 description: ASCII, no Unicode, and an optional Macintosh copy."""
    count = _number(data, 8)
    text, rest = data[12 : 12 + count], data[12 + count :]
    again = rest[11 : 11 + rest[10]]
    if any(rest[:10]) or any(rest[11 + rest[10] :]):
        raise ValueError("There is something beside the text.")
    return [each.rstrip(b"\x00").decode("ascii") for each in (text, again)]


def _translations(data: bytes) -> list[str]:
    """Return the texts of a version 4 description, in several languages."""
    count = _number(data, 8)
    if _number(data, 12) != _ENTRY or count > _MOST_TAGS:
        raise ValueError("The records are of an unknown form.")
    records = [data[at : at + _ENTRY] for at in range(16, 16 + _ENTRY * count, _ENTRY)]
    spans = {(_number(record, 8), _number(record, 4)) for record in records}
    languages = b"".join(record[:4] for record in records).replace(b"\x00", b"a")
    if not languages.isalpha() or not _fill_the_file(data, 16 + _ENTRY * count, spans):
        raise ValueError("There is something beside the texts.")
    return [data[at : at + size].decode("utf-16-be").rstrip("\x00") for at, size in spans]


_READERS: Final[dict[bytes, Callable[[bytes], list[str]]]] = {
    b"text": _plain_text,
    b"desc": _description,
    b"mluc": _translations,
}

"""Small pictures with every family of metadata that exiftool can write."""

from __future__ import annotations

import subprocess
from pathlib import Path

from PIL import ImageCms

from media_files.tests.pictures import encoded
from media_files.tests.tools import program

WORD = "Zwiebelturm"
SIZE = (300, 200)
"""Small enough that a picture without metadata is sent unchanged."""

_GPS = ("GPSLatitude=52.5", "GPSLatitudeRef=N", "GPSLongitude=13.25", "GPSLongitudeRef=E")
_FAMILIES = {
    "EXIF": tuple(
        f"EXIF:{name}={WORD}"
        for name in (
            *("ImageDescription", "Artist", "Copyright", "Make", "Model", "Software", "HostComputer"),
            *("UserComment", "OwnerName", "SerialNumber", "LensSerialNumber", "XPComment", "DocumentName"),
        )
    ),
    "EXIF place": tuple(f"EXIF:{each}" for each in (*_GPS, f"GPSAreaInformation={WORD}")),
    "EXIF orientation": ("EXIF:Orientation#=1", f"EXIF:Artist={WORD}"),
    "XMP": (f"XMP-dc:Description={WORD}", f"XMP-dc:Creator={WORD}", f"XMP-xmp:CreatorTool={WORD}"),
    "XMP place": ("XMP-exif:GPSLatitude=52.5", "XMP-exif:GPSLongitude=13.25"),
    "XMP city": (f"XMP-photoshop:City={WORD}", f"XMP-iptcCore:Location={WORD}"),
    "IPTC": (f"IPTC:By-line={WORD}", f"IPTC:Caption-Abstract={WORD}"),
    "IPTC city": (f"IPTC:City={WORD}", f"IPTC:Sub-location={WORD}"),
    "comment": (f"Comment={WORD}",),
    "Photoshop": ("Photoshop:XResolution=71", f"Photoshop:URL={WORD}"),
    "Ducky": (f"Ducky:Comment={WORD}",),
    "PNG text": (f"PNG:Title={WORD}", f"PNG:Author={WORD}", f"PNG:Disclaimer={WORD}"),
    "PNG time": ("PNG:ModifyDate=2024:05:06 07:08:09",),
    "thumbnail": ("ThumbnailImage<={folder}/thumbnail.jpg",),
    "profile": ("ICC_Profile<={folder}/planted.icc",),
    "Canon VRD": ("CanonVRD<={folder}/planted.vrd",),
}
_FORMATS = {
    "JPEG": ("jpg", set(_FAMILIES) - {"PNG text", "PNG time"}),
    "PNG": ("png", set(_FAMILIES) - {"Photoshop", "Ducky", "thumbnail", "Canon VRD"}),
    "GIF": ("gif", {"XMP", "XMP place", "XMP city", "comment", "profile"}),
    "WEBP": ("webp", {"EXIF", "EXIF place", "EXIF orientation", "XMP", "XMP place", "XMP city", "profile"}),
    "TIFF": ("tif", set(_FAMILIES) - {"comment", "Ducky", "PNG text", "PNG time", "thumbnail", "Canon VRD"}),
    "JPEG2000": ("jp2", {"EXIF", "EXIF place", "XMP", "XMP place", "XMP city", "IPTC", "IPTC city"}),
    "AVIF": ("avif", {"EXIF", "EXIF place", "XMP", "XMP place", "XMP city"}),
}
PLACES = frozenset({"EXIF place", "XMP place", "XMP city", "IPTC city", "second picture"})


def planted_profile() -> bytes:
    """Return an sRGB profile with a word in place of its description."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return srgb.replace("sRGB built-in".encode("utf-16-be"), WORD.ljust(13).encode("utf-16-be"))


def plain(folder: Path) -> dict[str, Path]:
    """Return a picture without metadata for each format that models accept."""
    return {
        name: _written(folder / f"plain.{suffix}", encoded(name, *SIZE))
        for name, (suffix, _) in _FORMATS.items()
        if name in ("JPEG", "PNG", "GIF", "WEBP")
    }


def planted(folder: Path) -> dict[tuple[str, str], Path]:
    """Return a picture for each format and metadata family. A single exiftool call writes them all."""
    _written(folder / "thumbnail.jpg", encoded("JPEG", 80, 60, comment=WORD))
    _written(folder / "planted.icc", planted_profile())
    _written(folder / "planted.vrd", _vrd())
    found: dict[tuple[str, str], Path] = {}
    commands: list[str] = []
    for format_name, (suffix, families) in _FORMATS.items():
        data = encoded(format_name, *SIZE)
        for family in sorted(families):
            path = _written(folder / f"{format_name} {family}.{suffix}", data)
            found[format_name, family] = path
            options = [f"-{tag.format(folder=folder)}" for tag in _FAMILIES[family]]
            commands += [*options, "-m", "-overwrite_original", str(path), "-execute"]
    arguments = _written(folder / "arguments", "\n".join(commands).encode())
    done = subprocess.run(
        [program("exiftool"), "-@", str(arguments)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.count("1 image files updated") == len(found), done.stdout + done.stderr
    return found | _appended(folder, found)


def _appended(folder: Path, found: dict[tuple[str, str], Path]) -> dict[tuple[str, str], Path]:
    """Append what no metadata tool writes: bytes after the picture, or a second picture with GPS data."""
    second = found["JPEG", "EXIF place"].read_bytes()
    added: dict[tuple[str, str], Path] = {}
    for format_name, (suffix, _) in _FORMATS.items():
        data = encoded(format_name, *SIZE)
        for family, tail in (("trailing bytes", WORD.encode()), ("second picture", second)):
            added[format_name, family] = _written(folder / f"{format_name} {family}.{suffix}", data + tail)
    return added


def _vrd() -> bytes:
    """Return an empty trailer of Canon's software, in its original length."""
    head = b"CANON OPTIONAL DATA\x00"
    body = WORD.encode().ljust(0x272, b"\x00")
    return head + bytes((0, 1, 0, 0)) + len(body).to_bytes(4, "big") + body + head + bytes(44)


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def read_back(folder: Path) -> str:
    """Return what exiftool finds in all files of a folder."""
    done = subprocess.run(
        [program("exiftool"), "-a", "-G1", "-ee", "-U", str(folder)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done.stdout

"""Fuzz inspection and rendering with mutated real files: only named errors may be raised.

Run ``python -m proxies.tests.fuzzing [seconds] [seed]`` for as long as you like, or `make fuzz`. The tests
run a short form with a fixed seed. A file that breaks the rule is written to the folder ``fuzz-findings``.
"""

from __future__ import annotations

import hashlib
import io
import random
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from media_files.errors import MediaError
from media_files.imaging.inspection import Limits, inspect
from media_files.tests.craft import chunk, exif, gif, picture, png, saved, tiff_block
from proxies.rendering.profiles import NOVA
from proxies.rendering.render import render

PROFILE = replace(NOVA, shorter_side=24)
LIMITS = Limits(max_pixels=4_000_000, max_bytes=1 << 20, max_frames=100)
SLOWEST = 20.0
"""Maximum seconds for one file."""

_INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)
_NUMBERS = (0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass(frozen=True)
class Finding:
    """A file that broke the rule, and how."""

    data: bytes
    problem: str


def seeds() -> list[bytes]:
    """Return small files of every format and most kinds."""
    two: dict[str, Any] = {"save_all": True, "append_images": [picture().rotate(90)]}
    files = [
        saved("JPEG", exif=exif(6, taken="2024:05:06 07:08:09", place=[(1, 1), (2, 1), (3, 1)])),
        saved("JPEG", progressive=True),
        saved("JPEG", image=picture("CMYK"), restart_marker_rows=1),
        saved("MPO", **two),
        saved("PNG", image=picture("RGBA"), exif=exif(3)),
        saved("PNG", image=picture("P"), transparency=3),
        saved("PNG", **two),
        png(chunk(b"tEXt", b"Raw profile type exif\x00\nexif\n 9\n" + exif(3).hex().encode()), depth=16),
        saved("GIF", **two),
        gif(3),
        saved("BMP"),
        saved("BMP", image=picture("P")),
        saved("JPEG2000"),
        saved("WEBP"),
        saved("WEBP", image=picture("RGBA"), lossless=True),
        saved("WEBP", exif=exif(8), **two),
        saved("AVIF", exif=exif(2), speed=10),
        tiff_block({256: (3, 4), 257: (3, 4), 258: (3, 8)}),
    ]
    files += [saved("TIFF", image=picture(mode)) for mode in ("RGB", "RGBA", "CMYK", "LAB", "P", "1")]
    files += [
        saved("TIFF", compression=kind) for kind in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
    ]
    files += [saved("TIFF", image=picture("L").convert(mode)) for mode in ("I;16", "I", "F")]
    return files + _heif()


def _heif() -> list[bytes]:
    try:
        import pillow_heif
    except ImportError:
        return []
    output = io.BytesIO()
    pillow_heif.from_pillow(picture()).save(output)
    return [output.getvalue()]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Return ``data`` with one to four changes of the kinds that accidents and attackers make."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = _place(len(changed), chance)
        kind = chance.randrange(7)
        if kind == 0:
            changed[at : at + 1] = bytes((chance.choice(_INTERESTING),))
        elif kind == 1:
            changed[at : at + 1] = bytes((chance.randrange(256),))
        elif kind == 2:
            order = chance.choice(("little", "big"))
            size = chance.choice((2, 4))
            number = chance.choice(_NUMBERS) & ((1 << 8 * size) - 1)
            changed[at : at + size] = number.to_bytes(size, order)  # type: ignore[arg-type] # mypy sees str
        elif kind == 3:
            del changed[at:]
        elif kind == 4:
            del changed[at : at + chance.randint(1, 64)]
        elif kind == 5:
            changed[at:at] = changed[at : at + chance.randint(1, 64)]
        else:
            length = chance.randint(1, 256)
            changed[at : at + length] = bytes(len(changed[at : at + length]))
    return bytes(changed)


def _place(size: int, chance: random.Random) -> int:
    """Choose an offset: half of them in the first 256 bytes, because headers decide most."""
    return chance.randrange(max(1, min(size, 256) if chance.random() < 0.5 else size))


def problem_with(data: bytes) -> str | None:
    """Return what is wrong with the result for a file; None if it gives a proxy or a named error in time."""
    began = time.monotonic()
    stream = io.BytesIO(data)
    try:
        facts = inspect(stream, LIMITS)
        rendered = render(stream, facts, PROFILE, limits=LIMITS)
        Image.open(io.BytesIO(rendered.data)).load()
    except MediaError:
        pass
    except BaseException as error:  # noqa: BLE001 - that is what is looked for
        return f"{type(error).__name__}: {error}"
    if stream.closed:
        return "the stream was closed"
    took = time.monotonic() - began
    return f"it took {took:.0f} s" if took > SLOWEST else None


def findings(seed: int, files: list[bytes]) -> Iterator[Finding | None]:
    """Yield one item per mutation, forever: None, or what is wrong."""
    chance = random.Random(seed)
    while True:
        data = mutated(chance.choice(files), chance)
        problem = problem_with(data)
        yield Finding(data, problem) if problem else None


def main(seconds: float = 300, seed: int = 0) -> int:
    """Fuzz for the given seconds; return the number of findings."""
    warnings.simplefilter("ignore")
    folder = Path("fuzz-findings")
    until = time.monotonic() + seconds
    tried = found = 0
    for finding in findings(seed, seeds()):
        tried += 1
        if finding is not None:
            found += 1
            folder.mkdir(exist_ok=True)
            path = folder / hashlib.sha256(finding.data).hexdigest()[:16]
            path.write_bytes(finding.data)
            print(f"{path}: {finding.problem}", flush=True)  # noqa: T201
        if time.monotonic() > until:
            break
    print(f"{tried} files, {found} findings, seed {seed}")  # noqa: T201
    return found


if __name__ == "__main__":
    sys.exit(1 if main(*map(int, sys.argv[1:3])) else 0)

"""Proxy profiles: the sizes, formats and limits of one reader, such as Amazon Nova."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

# Increment this whenever `render` produces different pixels for the same input (other than single levels of
# rounding), so that existing proxies count as outdated.
RECIPE_VERSION: Final = 4


@dataclass(frozen=True, slots=True)
class ProxyProfile:
    """One reader's requirements.

    Attributes:
        name: the profile's name, stored with each proxy.
        shorter_side: maximum shorter side of the upright image, px; None for no limit.
        longest_side: maximum longer side, px.
        quality: JPEG quality, 1 to 95.
        formats: Pillow's names of the formats that the reader accepts.
        byte_limit: maximum file size in bytes.
        suffix: the end of the proxy's file name, before the extension.
        recipe_version: the version of the rendering code's output.
    """

    name: str
    shorter_side: int | None
    longest_side: int
    quality: int
    formats: frozenset[str]
    byte_limit: int
    suffix: str
    recipe_version: int = RECIPE_VERSION

    @property
    def recipe(self) -> str:
        """All that determines the proxy's bytes, in one line. Proxies of another recipe are outdated."""
        return (
            f"{self.name}-{self.shorter_side or 'any'}x{self.longest_side}"
            f"-q{self.quality}-v{self.recipe_version}"
        )


_RECIPE: Final = re.compile(r"(.+)-(any|\d+)x(\d+)-q(\d+)-v(\d+)")
_PARTS: Final = ("profile", "shorter side", "longest side", "quality", "version of the rendering code")


def recipe_difference(wanted: str, others: Iterable[str]) -> str:
    """Describe how recipes of the same profile differ from the wanted one."""
    match = _RECIPE.fullmatch(wanted)
    parts = match.groups() if match else (wanted,)
    found = []
    for other in sorted(set(others)):
        theirs = _RECIPE.fullmatch(other)
        if theirs is None or theirs[1] != parts[0]:
            continue
        differing = [
            f"{name} {their} instead of {our}"
            for name, our, their in zip(_PARTS, parts, theirs.groups(), strict=False)
            if our != their
        ]
        found.append(", ".join(differing))
    return "; or ".join(found) or f"none of them has the profile {parts[0]!r}"


# Amazon Nova user guide, "Image understanding": PNG, JPEG, GIF and WebP; at most 8000 x 8000 px;
# 25 MB for a whole request with the image in base64, which leaves about 18 MB for its bytes.
NOVA: Final = ProxyProfile(
    name="nova",
    shorter_side=896,
    longest_side=8000,
    quality=85,
    formats=frozenset({"JPEG", "PNG", "GIF", "WEBP"}),
    byte_limit=18_000_000,
    suffix="nova",
)

# Amazon Rekognition developer guide, "Limits": JPEG and PNG, 5 MB as bytes. Small faces and small text are
# lost in a small image, so only the longest side is limited.
REKOGNITION: Final = ProxyProfile(
    name="rekognition",
    shorter_side=None,
    longest_side=4096,
    quality=90,
    formats=frozenset({"JPEG", "PNG"}),
    byte_limit=5_000_000,
    suffix="rekognition",
)

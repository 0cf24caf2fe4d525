"""Take one kind of image through inspection and rendering, and compare the proxy with what the file shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from media_files.errors import MediaError
from media_files.imaging.inspection import ImageFacts, inspect
from proxies.rendering.profiles import NOVA, ProxyProfile
from proxies.rendering.render import Rendered, proxy_reasons, render
from proxies.rendering.resize import Resizer
from proxies.tests.kinds import Kind
from proxies.tests.reference import Pixels, as_jpeg, corners, mean_delta_e, resized

# A third of the reference image's size, about the ratio of a photograph's proxy.
PROFILE: ProxyProfile = replace(NOVA, shorter_side=160)


@dataclass(frozen=True)
class Outcome:
    """The result for a kind: a proxy with its difference from what the original shows, or a refusal."""

    facts: ImageFacts | None
    reasons: tuple[str, ...]
    rendered: Rendered | None
    error: str
    delta_e: float
    corners: str


def proxy_pixels(data: bytes) -> Pixels:
    """Return the proxy's pixels, over white where it is transparent."""
    with Image.open(BytesIO(data)) as proxy:
        picture = proxy.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return np.asarray(Image.alpha_composite(white, picture).convert("RGB"), dtype=np.float64) / 255


def measure(kind: Kind, folder: Path, resizer: Resizer) -> Outcome:
    """Write the kind's file in ``folder``, and render its proxy."""
    path, shown = kind.build(folder)
    with path.open("rb") as stream:
        try:
            facts = inspect(stream)
            rendered = render(stream, facts, PROFILE, resizer=resizer)
        except MediaError as error:
            return Outcome(None, (), None, error.code, 0, "")
    made = proxy_pixels(rendered.data)
    expected = resized(shown, rendered.width, rendered.height)
    if rendered.format == "JPEG":
        expected = as_jpeg(expected, PROFILE.quality, folder)
    return Outcome(
        facts=facts,
        reasons=tuple(proxy_reasons(facts, PROFILE)),
        rendered=rendered,
        error="",
        delta_e=mean_delta_e(made, expected),
        corners=corners(made),
    )

"""The generated sample pictures."""

from __future__ import annotations

import pytest
from PIL import Image

from media_files.imaging.inspection import inspect
from media_files.tests.fixtures import tree
from novaproxy_site.samples import make_samples
from proxies.rendering.profiles import NOVA
from proxies.rendering.render import get_optimal_format, proxy_reasons


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples") / "of its own"
    make_samples(folder)
    return folder


REASONS = {
    "landscape.jpg": ["shorter_side"],
    "phone.jpg": ["shorter_side", "orientation", "location", "metadata"],
    "transparent.png": ["shorter_side"],
    "scan.tif": ["format"],
    "small.jpg": [],
    "square.webp": ["shorter_side"],
}


def test_the_samples_cover_every_reason(samples):
    found = {}
    for path in samples.iterdir():
        with path.open("rb") as stream:
            found[path.name] = inspect(stream)
    assert {name: proxy_reasons(facts, NOVA) for name, facts in found.items()} == REASONS
    large = [facts for facts in found.values() if facts.width * facts.height >= 12_000_000]
    assert len(large) >= 3
    with Image.open(samples / "transparent.png") as image:
        assert get_optimal_format(image) == "PNG"


def test_existing_samples_are_kept(samples):
    before = tree(samples)
    (samples / "small.jpg").write_bytes(b"mine")
    make_samples(samples)
    assert tree(samples) == before | {"small.jpg": tree(samples)["small.jpg"]}
    assert (samples / "small.jpg").read_bytes() == b"mine"
    (samples / "small.jpg").unlink()
    make_samples(samples)
    # Its noise differs; the other samples are unchanged.
    again = tree(samples)
    assert again == before | {"small.jpg": again["small.jpg"]}
    assert (samples / "small.jpg").stat().st_size > 10_000

"""Proxies' names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxies.services import build_image_proxy_filename

NAMES: dict[str, tuple[tuple[str, int], dict[str, Any], str]] = {
    "plain": (("IMG_0001.JPG", 12), {}, "IMG_0001_12_nova.jpg"),
    "PNG": (("logo.png", 12), {"format": "PNG"}, "logo_12_nova.png"),
    "the extension follows what is written": (("scan.tif", 7), {"format": "JPEG"}, "scan_7_nova.jpg"),
    "another profile": (("a.jpg", 1), {"suffix": "rekognition"}, "a_1_rekognition.jpg"),
    "unsafe": (("../a b?.jpg", 3), {}, "a b__3_nova.jpg"),
    "nothing left": (("...", 3), {}, "file_3_nova.jpg"),
    "long": (("x" * 400 + ".jpg", 3), {}, "x" * 150 + "_3_nova.jpg"),
}


@pytest.mark.parametrize("case", NAMES)
def test_names(case):
    arguments, options, name = NAMES[case]
    assert build_image_proxy_filename(*arguments, **options) == name


@given(st.text(max_size=300), st.integers(1, 2**63 - 1))
def test_any_name_fits_a_folder_and_contains_its_source_id(original, source_id):
    name = build_image_proxy_filename(original, source_id)
    assert len(name.encode()) <= 255
    assert name.endswith(f"_{source_id}_nova.jpg")
    assert "/" not in name

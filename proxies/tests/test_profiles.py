"""Profiles: the two built-in ones, those from the settings, and invalid ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from media_files.models import MediaFile
from media_files.tests.pictures import encoded, jpeg
from novaproxy_site.tests.api_client import api_with
from proxies.conf import conf
from proxies.models import Proxy
from proxies.outcomes import Outcome
from proxies.rendering.profiles import RECIPE_VERSION
from proxies.services import ImageProxyService

Add = Callable[..., MediaFile]


def test_rekognition_keeps_every_pixel_up_to_its_longest_side(add: Add, off: None) -> None:
    result = ImageProxyService(profile="rekognition").create_proxy(add(encoded("WEBP", 1500, 1200)))
    assert result.proxy is not None
    assert (result.proxy.width, result.proxy.height, result.proxy.format) == (1500, 1200, "JPEG")
    long = ImageProxyService(profile="rekognition").create_proxy(add(jpeg(5000, 500)))
    assert long.proxy is not None
    assert (long.proxy.width, long.proxy.height) == (4096, 410)


def test_a_jpeg_that_rekognition_reads_needs_no_proxy(add: Add, off: None) -> None:
    result = ImageProxyService(profile="rekognition").create_proxy(add(jpeg(3000, 2000)))
    assert result.outcome == Outcome.SKIPPED


def test_each_profile_has_its_own_proxy_and_file(add: Add, off: None, settings: Any) -> None:
    settings.NOVAPROXY_PROFILES = {"tiny": {"shorter_side": 64, "longest_side": 400, "quality": 60}}
    file = add(encoded("WEBP", 1500, 1200))
    for profile in ("nova", "rekognition", "tiny"):
        ImageProxyService(profile=profile).create_proxy(file)
    names = {proxy.profile: str(proxy.image.name) for proxy in Proxy.objects.filter(source=file)}
    assert {profile: name.rpartition("_")[2] for profile, name in names.items()} == {
        "nova": "nova.jpg",
        "rekognition": "rekognition.jpg",
        "tiny": "tiny.jpg",
    }
    tiny = Proxy.objects.get(profile="tiny")
    assert (min(tiny.width or 0, tiny.height or 0), tiny.recipe) == (64, f"tiny-64x400-q60-v{RECIPE_VERSION}")


@pytest.mark.django_db
def test_the_api_accepts_a_profile(add: Add, off: None) -> None:
    file = add(encoded("WEBP", 1500, 1200))
    api = api_with("media_files.view_mediafile", "proxies.add_proxy")
    made = api.send(f"/api/files/{file.pk}/create-image-proxy", {"profile": "rekognition"})
    assert (made.status_code, made.json()["proxy_dimensions"]) == (201, [1500, 1200])
    plan = api.send("/api/batch/image-proxy", {"filter": {}, "profile": "rekognition", "dry_run": True})
    assert plan.json()["plan"]["reused"] == 1


WRONG = {
    "no object": ["small"],
    "a name of ours": {"nova": {}},
    "a name that no file can end in": {"Very Small": {}},
    "no wishes": {"small": 512},
    "an unknown wish": {"small": {"height": 512}},
    "no number": {"small": {"shorter_side": "512"}},
    "a truth": {"small": {"quality": True}},
    "out of range": {"small": {"quality": 100}},
    "formats that are no list": {"small": {"formats": "JPEG"}},
    "formats that are not written": {"small": {"formats": ["GIF"]}},
}


@pytest.mark.parametrize("case", WRONG)
def test_an_invalid_profile_is_reported(settings: Any, case: str) -> None:
    settings.NOVAPROXY_PROFILES = WRONG[case]
    with pytest.raises(ImproperlyConfigured, match="NOVAPROXY_PROFILES"):
        conf()

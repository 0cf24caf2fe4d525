"""System checks: each missing requirement is reported with its id."""

from __future__ import annotations

import pytest
from django.core.checks import run_checks
from PIL import features


def messages(app: str = "media_files"):
    return [message for message in run_checks() if str(message.id).startswith(f"{app}.")]


def test_a_complete_setup_passes(folders):
    assert messages() == []


@pytest.mark.parametrize("codec", ["jpg", "zlib", "webp", "libtiff", "jpg_2000", "littlecms2"])
def test_a_missing_codec_is_reported(monkeypatch, folders, codec):
    check = features.check
    monkeypatch.setattr(features, "check", lambda name: name != codec and check(name))
    (message,) = messages()
    assert message.id == "media_files.E001"
    assert codec in message.msg
    assert "pip install" in str(message.hint)


@pytest.mark.parametrize("alias", ["originals", "proxies"])
def test_an_unwritable_folder_is_reported(settings, tmp_path, folders, alias):
    (tmp_path / "file").write_text("no folder")
    place = {
        "BACKEND": "media_files.storage.local.LocalStorage",
        "OPTIONS": {"location": str(tmp_path / "file" / "x")},
    }
    settings.STORAGES = settings.STORAGES | {alias: place}
    (message,) = messages()
    assert message.id == "media_files.E002"
    assert str(tmp_path / "file") in message.msg
    assert f"NOVAPROXY_{alias.upper()}_FOLDER" in str(message.hint)


def test_a_folder_that_does_not_exist_yet_passes(settings, tmp_path, folders):
    place = {
        "BACKEND": "media_files.storage.local.LocalStorage",
        "OPTIONS": {"location": str(tmp_path / "a" / "b")},
    }
    settings.STORAGES = settings.STORAGES | {"proxies": place}
    assert messages() == []


@pytest.mark.parametrize("alias", ["originals", "proxies"])
@pytest.mark.parametrize(("region", "wanting"), [(None, 1), ("eu-central-1", 0)], ids=["none", "one"])
def test_a_bucket_needs_a_region(settings, folders, alias, region, wanting):
    options = {"bucket_name": "photos", "location": "", "region_name": region, "endpoint_url": None}
    place = {"BACKEND": "media_files.storage.s3.BucketStorage", "OPTIONS": options}
    settings.STORAGES = settings.STORAGES | {alias: place}
    found = messages()
    assert [message.id for message in found] == ["media_files.E003"] * wanting
    assert all(f"NOVAPROXY_{alias.upper()}_REGION" in str(message.hint) for message in found)

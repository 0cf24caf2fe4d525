"""System checks that refuse to start with a broken setup. Each has an id and a hint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from PIL import features

from media_files.storage.probe import failing_storages

# Pillow's codec names, with the formats that need them and the packages that provide them.
_CODECS: Final = {
    "jpg": "JPEG",
    "zlib": "PNG",
    "webp": "WebP",
    "libtiff": "compressed TIFF",
    "jpg_2000": "JPEG 2000",
    "littlecms2": "colour profiles",
}


@register(Tags.compatibility)
def check_codecs(**kwargs: Any) -> list[CheckMessage]:
    return [
        Error(
            f"Pillow was built without {kind} ({codec}).",
            hint="Install Pillow's own wheel: pip install --force-reinstall --only-binary :all: Pillow",
            id="media_files.E001",
        )
        for codec, kind in _CODECS.items()
        if not features.check(codec)
    ]


@register(Tags.files)
def check_storages(**kwargs: Any) -> list[CheckMessage]:
    messages: list[CheckMessage] = []
    for alias in ("originals", "proxies"):
        options = settings.STORAGES[alias].get("OPTIONS", {})
        variable = f"NOVAPROXY_{alias.upper()}"
        if "bucket_name" in options:
            messages += _check_bucket(alias, options, variable)
        elif "location" in options:
            messages += _check_folder(alias, Path(options["location"]), variable)
    return messages


@register("storages", deploy=True)
def check_storages_answer(**kwargs: Any) -> list[CheckMessage]:
    """Write, read and compare a small file in each storage. Slow, so only with ``check --deploy``."""
    return [
        Error(f"The storage {alias!r} is not usable: {error}", id="media_files.E004")
        for alias, error in failing_storages().items()
    ]


def _check_bucket(alias: str, options: dict[str, Any], variable: str) -> list[CheckMessage]:
    if options.get("region_name"):
        return []
    return [
        Error(
            f"The bucket {options['bucket_name']!r} of the storage {alias!r} has no region.",
            hint=f"Set {variable}_REGION to the region of the bucket, for example eu-central-1.",
            id="media_files.E003",
        )
    ]


def _check_folder(alias: str, folder: Path, variable: str) -> list[CheckMessage]:
    """Check that the folder, or its nearest existing parent, is writable."""
    standing = folder
    while not standing.exists() and standing != standing.parent:
        standing = standing.parent
    if standing.is_dir() and os.access(standing, os.W_OK | os.X_OK):
        return []
    return [
        Error(
            f"The folder of the storage {alias!r} cannot be written: {standing}",
            hint=f"Give this user the right to write there, or set {variable}_FOLDER or NOVAPROXY_DATA_DIR.",
            id="media_files.E002",
        )
    ]

"""System checks that refuse to start with a broken setup. Each has an id and a hint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured
from PIL import features

from media_files.storage.base import media_storage
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


# The storages that every project has.
_ALIASES: Final = ("originals", "proxies")


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
    missing = [alias for alias in _ALIASES if alias not in settings.STORAGES]
    messages: list[CheckMessage] = [_missing_storages(missing)] if missing else []
    for alias in _ALIASES:
        if alias in missing:
            continue
        if unusable := _check_backend(alias):
            messages.append(unusable)
            continue
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


def _missing_storages(aliases: list[str]) -> CheckMessage:
    return Error(
        f"STORAGES has no {' and no '.join(map(repr, aliases))}.",
        hint="Set STORAGES to what it is, with an entry for each: "
        '{"BACKEND": "media_files.storage.local.LocalStorage", "OPTIONS": {"location": "/a/folder"}}. '
        "Both may use the same folder.",
        id="media_files.E005",
    )


def _check_backend(alias: str) -> CheckMessage | None:
    """Check that the backend of a storage can be imported and is one of ours."""
    try:
        media_storage(alias)
    except ImproperlyConfigured as error:
        return Error(
            f"The storage {alias!r} is not usable: {error}",
            hint=f'Set STORAGES[{alias!r}]["BACKEND"] to "media_files.storage.local.LocalStorage" or '
            '"media_files.storage.s3.BucketStorage".',
            id="media_files.E006",
        )
    return None


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

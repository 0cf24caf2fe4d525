"""Fixtures for single-process tests, imported by the conftest.py of each app's tests."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps

from media_files.models import MediaFile
from media_files.services import add_file
from media_files.tests.pictures import jpeg


@pytest.fixture
def folders(settings: Any, tmp_path: Path) -> dict[str, Path]:
    """Put both storages into temporary folders, and return the folders by alias."""
    places = {alias: tmp_path / "media" / alias for alias in ("originals", "proxies")}
    backend = "media_files.storage.local.LocalStorage"
    settings.STORAGES = settings.STORAGES | {
        alias: {"BACKEND": backend, "OPTIONS": {"location": str(folder)}} for alias, folder in places.items()
    }
    return places


@pytest.fixture
def add(folders: dict[str, Path], db: None) -> Callable[..., MediaFile]:
    """Return a function that adds an original like an upload or import: ``add(jpeg(), "a.jpg")``."""

    def add_one(data: bytes | None = None, name: str = "picture.jpg", *, seed: int = 0) -> MediaFile:
        return add_file(io.BytesIO(jpeg(seed=seed) if data is None else data), name)[0]

    return add_one


@pytest.fixture
def everything(folders: dict[str, Path], tmp_path: Path) -> Callable[[], dict[str, Any]]:
    """Return a function that takes a snapshot: every row of every table and every file's bytes."""

    def tell() -> dict[str, Any]:
        rows = {
            model._meta.label: sorted(map(repr, model._default_manager.values_list()))
            for model in apps.get_models(include_auto_created=True)
        }
        return rows | tree(tmp_path)

    return tell


def tree(folder: Path) -> dict[str, str]:
    """Return every file below ``folder`` with its SHA-256, and every folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


def files_in(folder: Path) -> list[str]:
    """Return the names of the files below ``folder``, relative to it."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def inline(settings: Any) -> None:
    """Make the proxy while an original is saved."""
    settings.NOVAPROXY_ON_SAVE = "inline"


@pytest.fixture
def off(settings: Any) -> None:
    """Make no proxy when an original is saved."""
    settings.NOVAPROXY_ON_SAVE = "off"

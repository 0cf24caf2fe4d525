"""Typed access to the settings for originals."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.dispatch import receiver

from media_files.imaging.inspection import Limits


@lru_cache(maxsize=1)
def limits() -> Limits:
    """Return how large a file may be, in pixels and in bytes."""
    return Limits(max_pixels=settings.NOVAPROXY_MAX_PIXELS, max_bytes=settings.NOVAPROXY_MAX_UPLOAD)


@receiver(setting_changed)
def _forget(**kwargs: Any) -> None:
    limits.cache_clear()

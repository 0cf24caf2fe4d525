"""The settings of originals: their defaults, in one place, and a typed view of them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from django.conf import settings
from django.core.signals import setting_changed
from django.dispatch import receiver

from media_files.imaging.inspection import Limits

# Values of the settings that a project does not set. docs/settings.md explains each.
DEFAULTS: Final[dict[str, Any]] = {
    "NOVAPROXY_API_RATE": "",
    "NOVAPROXY_MAX_PIXELS": 250_000_000,
    "NOVAPROXY_MAX_UPLOAD": 1024 * 1024 * 1024,
}


def setting(name: str) -> Any:
    """Return the project's value of a setting, or its default."""
    return getattr(settings, name, DEFAULTS[name])


@lru_cache(maxsize=1)
def limits() -> Limits:
    """Return how large a file may be, in pixels and in bytes."""
    return Limits(max_pixels=setting("NOVAPROXY_MAX_PIXELS"), max_bytes=setting("NOVAPROXY_MAX_UPLOAD"))


@receiver(setting_changed)
def _forget(**kwargs: Any) -> None:
    limits.cache_clear()

"""The settings of proxies and of the queue: their defaults, in one place, and a typed view of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, Literal, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver

import media_files.conf
from proxies.rendering.profiles import NOVA, REKOGNITION, ProxyProfile

# Values of the settings that a project does not set. docs/settings.md explains each.
DEFAULTS: Final[dict[str, Any]] = {
    "NOVAPROXY_TARGET": NOVA.shorter_side,
    "NOVAPROXY_LONGEST_SIDE": NOVA.longest_side,
    "NOVAPROXY_QUALITY": NOVA.quality,
    "NOVAPROXY_PROFILES": {},
    "NOVAPROXY_ON_SAVE": "queue",
    "NOVAPROXY_RESIZER": "auto",
    "NOVAPROXY_MAX_MEMORY": 4608,
    "NOVAPROXY_WORKERS": 2,
    "NOVAPROXY_BROKER": "orm",
    # How long a worker that stops waits for answers: the analyses' setting, which has its default here.
    "NOVAPROXY_ANALYSIS_TIMEOUT": 90,
    "HEARTBEAT": True,
}

# A profile's name is the end of its files' names.
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
# The formats that proxies are written in; a profile's reader must accept one of them.
_WRITTEN: Final = frozenset({"JPEG", "PNG"})
_READ: Final = _WRITTEN | {"GIF", "WEBP"}
# The minimum and maximum of each number in a configured profile.
_RANGES: Final = {
    "shorter_side": (1, 65_535),
    "longest_side": (1, 65_535),
    "quality": (1, 95),
    "byte_limit": (10_000, 1 << 40),
}


@dataclass(frozen=True, slots=True)
class ProxyConf:
    """The configuration of proxies.

    Attributes:
        profiles: the known profiles by name; ``nova`` is the default everywhere.
        on_save: whether a saved original gets its proxy through the queue, at once, or not at all.
        resizer: ``auto`` for the fastest one that passes its self-check, ``pillow`` for Pillow's own.
    """

    profiles: dict[str, ProxyProfile]
    on_save: Literal["queue", "inline", "off"]
    resizer: Literal["auto", "pillow"]

    @property
    def nova(self) -> ProxyProfile:
        return self.profiles["nova"]


def setting(name: str) -> Any:
    """Return the project's value of a setting, or its default."""
    return getattr(settings, name, DEFAULTS[name])


def shared_setting(name: str) -> Any:
    """Return the value of a setting of any app; None if it is not set and its default is not known here."""
    return getattr(settings, name, (media_files.conf.DEFAULTS | DEFAULTS).get(name))


def queue_settings() -> dict[str, Any]:
    """Return Q_CLUSTER; empty where the project has none, which the check proxies.E005 reports."""
    return getattr(settings, "Q_CLUSTER", {})


@lru_cache(maxsize=1)
def conf() -> ProxyConf:
    """Return the configuration, read once from the settings."""
    nova = replace(
        NOVA,
        shorter_side=setting("NOVAPROXY_TARGET"),
        longest_side=setting("NOVAPROXY_LONGEST_SIDE"),
        quality=setting("NOVAPROXY_QUALITY"),
    )
    return ProxyConf(
        profiles={"nova": nova, "rekognition": REKOGNITION} | _further(setting("NOVAPROXY_PROFILES")),
        on_save=cast(Literal["queue", "inline", "off"], setting("NOVAPROXY_ON_SAVE")),
        resizer=cast(Literal["auto", "pillow"], setting("NOVAPROXY_RESIZER")),
    )


def _further(given: Mapping[str, Any]) -> dict[str, ProxyProfile]:
    """Return the profiles that the settings add.

    Raises:
        ImproperlyConfigured: one is invalid; the message says which and why.
    """
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured('NOVAPROXY_PROFILES is an object of profiles, as {"small": {...}}.')
    return {name: _profile(name, wishes) for name, wishes in given.items()}


def _profile(name: str, wishes: Any) -> ProxyProfile:
    where = f"The profile {name!r} of NOVAPROXY_PROFILES"
    if not _NAME.fullmatch(name) or name in {"nova", "rekognition", "video"}:
        raise ImproperlyConfigured(
            f"{where} needs another name: letters a to z, digits and hyphens, at most 32, "
            "and not nova, rekognition or video."
        )
    if not isinstance(wishes, Mapping) or not set(wishes) <= {*_RANGES, "formats"}:
        raise ImproperlyConfigured(f"{where} is an object with no keys but {', '.join(_RANGES)} and formats.")
    values: dict[str, Any] = {"shorter_side": None, **wishes}
    for key in _RANGES.keys() & wishes.keys():
        (least, most), value = _RANGES[key], wishes[key]
        if value is None and key == "shorter_side":
            continue
        if type(value) is not int or not least <= value <= most:
            raise ImproperlyConfigured(f"{where}: {key} is a whole number from {least} to {most:,}.")
    formats = values.get("formats", sorted(NOVA.formats))
    are_words = isinstance(formats, list) and all(isinstance(name, str) for name in formats)
    if not are_words or not _WRITTEN <= set(formats) <= _READ:
        raise ImproperlyConfigured(
            f"{where}: formats is a list of {', '.join(sorted(_READ))}, JPEG and PNG among them: "
            "those two are what proxies are written in."
        )
    return replace(NOVA, name=name, suffix=name, **values | {"formats": frozenset(formats)})


@receiver(setting_changed)
def _forget(**kwargs: Any) -> None:
    conf.cache_clear()

"""The one typed view of what the settings say of proxies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, cast

from django.conf import settings
from django.core.signals import setting_changed
from django.dispatch import receiver

from proxies.profiles import NOVA, ProxyProfile


@dataclass(frozen=True, slots=True)
class ProxyConf:
    """How proxies are made here.

    Attributes:
        profiles: the known profiles by name; ``nova`` is the default everywhere.
        on_save: whether a saved original gets its proxy by the queue, at once, or not at all.
        resizer: ``auto`` for the quickest that passes its self-check, ``pillow`` for Pillow's own.
    """

    profiles: dict[str, ProxyProfile]
    on_save: Literal["queue", "inline", "off"]
    resizer: Literal["auto", "pillow"]

    @property
    def nova(self) -> ProxyProfile:
        return self.profiles["nova"]


@lru_cache(maxsize=1)
def conf() -> ProxyConf:
    """The settings of this moment, read once."""
    nova = replace(
        NOVA,
        shorter_side=settings.NOVAPROXY_TARGET,
        longest_side=settings.NOVAPROXY_LONGEST_SIDE,
        quality=settings.NOVAPROXY_QUALITY,
    )
    return ProxyConf(
        profiles={"nova": nova},
        on_save=cast(Literal["queue", "inline", "off"], settings.NOVAPROXY_ON_SAVE),
        resizer=cast(Literal["auto", "pillow"], settings.NOVAPROXY_RESIZER),
    )


@receiver(setting_changed)
def _forget(**kwargs: Any) -> None:
    conf.cache_clear()

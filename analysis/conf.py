"""The settings of analyses: their defaults, in one place, and a typed view of them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from django.conf import settings
from django.core.signals import setting_changed
from django.dispatch import receiver

import proxies.conf

# Values of the settings that a project does not set. docs/settings.md explains each.
DEFAULTS: Final[dict[str, Any]] = {
    "NOVAPROXY_ANALYSIS_REGION": "",
    "NOVAPROXY_ANALYSIS_SEND": "auto",
    "NOVAPROXY_ANALYSIS_MODEL": "us.amazon.nova-2-lite-v1:0",
    "NOVAPROXY_ANALYSIS_MAX_TOKENS": 2000,
    "NOVAPROXY_ANALYSIS_TEMPERATURE": 0.0,
    "NOVAPROXY_ANALYSIS_REASONING": "off",
    "NOVAPROXY_ANALYSIS_SERVICE_TIER": "",
    "NOVAPROXY_ANALYSIS_TIMEOUT": proxies.conf.DEFAULTS["NOVAPROXY_ANALYSIS_TIMEOUT"],
    "NOVAPROXY_ANALYSIS_CALLS_IN_FLIGHT": 32,
    "NOVAPROXY_ANALYSIS_CALLS_PER_SECOND": 10.0,
    "NOVAPROXY_ANALYSIS_BUDGET": Decimal(0),
    "NOVAPROXY_ANALYSIS_DAILY_BUDGET": Decimal(0),
    "NOVAPROXY_ANALYSIS_FEATURES": ["labels", "text"],
    "NOVAPROXY_ANALYSIS_CUSTOM_MODELS": [],
    "NOVAPROXY_ANALYSIS_BIOMETRICS": False,
    "NOVAPROXY_ANALYSIS_MIN_CONFIDENCE": 50.0,
    "NOVAPROXY_TRASH_DAYS": 30,
}


def setting(name: str) -> Any:
    """Return the project's value of a setting, or its default."""
    return getattr(settings, name, DEFAULTS[name])


@dataclass(frozen=True, slots=True)
class AnalysisConf:
    """Settings for sending images to models.

    Attributes:
        region: AWS region of the services; empty for the one from the AWS configuration chain.
        bucket: whether there is an analysis bucket (storage alias ``analysis``).
        send: ``auto`` to let services read objects in S3 where possible, ``bytes`` to always embed them.
        model_id: Nova inference profile.
        max_tokens: maximum length of an answer.
        temperature: 0 to 1.
        reasoning: ``off``, ``low``, ``medium`` or ``high``.
        service_tier: Bedrock service tier; empty for its default.
        timeout: maximum seconds to wait for an answer.
        calls_in_flight: maximum per worker process.
        calls_per_second: maximum per provider, over all workers.
        budget: US dollars for each batch; None for no limit.
        daily_budget: US dollars for the single requests of a day (UTC); None for no limit.
        features: Rekognition features to request.
        custom_models: ARNs of Rekognition custom label models.
        biometrics: whether face and celebrity detection are allowed.
        trash_days: how long answers are kept after their file is deleted; 0 to delete them with the file.
        min_confidence: percent; Rekognition omits results below it.
    """

    region: str
    bucket: bool
    send: str
    model_id: str
    max_tokens: int
    temperature: float
    reasoning: str
    service_tier: str
    timeout: int
    calls_in_flight: int
    calls_per_second: float
    budget: Decimal | None
    daily_budget: Decimal | None
    features: tuple[str, ...]
    custom_models: tuple[str, ...]
    biometrics: bool
    min_confidence: float
    trash_days: int


@lru_cache(maxsize=1)
def conf() -> AnalysisConf:
    """Return the settings, read once and cached."""
    return AnalysisConf(
        region=setting("NOVAPROXY_ANALYSIS_REGION"),
        bucket="analysis" in settings.STORAGES,
        send=setting("NOVAPROXY_ANALYSIS_SEND"),
        model_id=setting("NOVAPROXY_ANALYSIS_MODEL"),
        max_tokens=setting("NOVAPROXY_ANALYSIS_MAX_TOKENS"),
        temperature=setting("NOVAPROXY_ANALYSIS_TEMPERATURE"),
        reasoning=setting("NOVAPROXY_ANALYSIS_REASONING"),
        service_tier=setting("NOVAPROXY_ANALYSIS_SERVICE_TIER"),
        timeout=setting("NOVAPROXY_ANALYSIS_TIMEOUT"),
        calls_in_flight=setting("NOVAPROXY_ANALYSIS_CALLS_IN_FLIGHT"),
        calls_per_second=setting("NOVAPROXY_ANALYSIS_CALLS_PER_SECOND"),
        budget=setting("NOVAPROXY_ANALYSIS_BUDGET") or None,
        daily_budget=setting("NOVAPROXY_ANALYSIS_DAILY_BUDGET") or None,
        features=tuple(setting("NOVAPROXY_ANALYSIS_FEATURES")),
        custom_models=tuple(setting("NOVAPROXY_ANALYSIS_CUSTOM_MODELS")),
        biometrics=setting("NOVAPROXY_ANALYSIS_BIOMETRICS"),
        min_confidence=setting("NOVAPROXY_ANALYSIS_MIN_CONFIDENCE"),
        trash_days=setting("NOVAPROXY_TRASH_DAYS"),
    )


@receiver(setting_changed)
def _forget(**kwargs: Any) -> None:
    conf.cache_clear()

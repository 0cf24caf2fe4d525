"""The one typed view of what the settings say of analyses."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.dispatch import receiver


@dataclass(frozen=True, slots=True)
class AnalysisConf:
    """How images are sent to models, and what is asked of them.

    Attributes:
        region: of the services; empty for the one that the AWS chain names.
        bucket: whether there is an analysis bucket (the storage alias ``analysis``).
        send: ``auto`` to point services at objects in S3 where there are any, ``bytes`` never to.
        model_id: of Nova, an inference profile.
        max_tokens: of an answer.
        temperature: 0 to 1.
        reasoning: ``off``, ``low``, ``medium`` or ``high``.
        service_tier: of Bedrock; empty for its default.
        timeout: seconds that an answer may take.
        calls_in_flight: for each worker process.
        calls_per_second: to each provider, over all workers.
        budget: US dollars for each batch; None for no limit.
        daily_budget: US dollars for the single requests of each day (UTC); None for no limit.
        features: what Rekognition is asked for.
        custom_models: ARNs of Rekognition's custom label models.
        biometrics: whether faces and celebrities may be asked for.
        trash_days: for which answers are kept after their file was deleted; 0 for none.
        min_confidence: percent; what Rekognition is less sure of is not returned.
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
    """The settings of this moment, read once."""
    return AnalysisConf(
        region=settings.NOVAPROXY_ANALYSIS_REGION,
        bucket="analysis" in settings.STORAGES,
        send=settings.NOVAPROXY_ANALYSIS_SEND,
        model_id=settings.NOVAPROXY_ANALYSIS_MODEL,
        max_tokens=settings.NOVAPROXY_ANALYSIS_MAX_TOKENS,
        temperature=settings.NOVAPROXY_ANALYSIS_TEMPERATURE,
        reasoning=settings.NOVAPROXY_ANALYSIS_REASONING,
        service_tier=settings.NOVAPROXY_ANALYSIS_SERVICE_TIER,
        timeout=settings.NOVAPROXY_ANALYSIS_TIMEOUT,
        calls_in_flight=settings.NOVAPROXY_ANALYSIS_CALLS_IN_FLIGHT,
        calls_per_second=settings.NOVAPROXY_ANALYSIS_CALLS_PER_SECOND,
        budget=settings.NOVAPROXY_ANALYSIS_BUDGET or None,
        daily_budget=settings.NOVAPROXY_ANALYSIS_DAILY_BUDGET or None,
        features=tuple(settings.NOVAPROXY_ANALYSIS_FEATURES),
        custom_models=tuple(settings.NOVAPROXY_ANALYSIS_CUSTOM_MODELS),
        biometrics=settings.NOVAPROXY_ANALYSIS_BIOMETRICS,
        min_confidence=settings.NOVAPROXY_ANALYSIS_MIN_CONFIDENCE,
        trash_days=settings.NOVAPROXY_TRASH_DAYS,
    )


@receiver(setting_changed)
def _forget(**kwargs: Any) -> None:
    conf.cache_clear()

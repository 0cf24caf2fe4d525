"""Settings that cost, that send pictures elsewhere, or that cannot work, are told of at start."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from analysis.conf import conf
from analysis.providers.rekognition import CUSTOM, FEATURES

_OURS: Final = "amazonaws.com"


@register
def check_model(**kwargs: Any) -> list[CheckMessage]:
    """Where a model id leads."""
    model = conf().model_id
    messages: list[CheckMessage] = []
    if model.startswith("global."):
        messages.append(
            Warning(
                f"NOVAPROXY_ANALYSIS_MODEL is {model!r}: pictures may be read in any region of the world.",
                hint="Use the profile of your region (us.…) where they must not leave it.",
                id="analysis.W001",
            )
        )
    elif model.startswith("amazon.nova-2"):
        messages.append(
            Warning(
                f"NOVAPROXY_ANALYSIS_MODEL is {model!r}: Bedrock refuses Nova 2 by its bare id.",
                hint=f"Use an inference profile, us.{model} for instance.",
                id="analysis.W002",
            )
        )
    return messages


@register
def check_timeout(**kwargs: Any) -> list[CheckMessage]:
    """An answer that comes after the queue has ended its task is paid for and lost."""
    limit = settings.Q_CLUSTER.get("timeout") or 0
    if conf().timeout < limit:
        return []
    return [
        Warning(
            f"NOVAPROXY_ANALYSIS_TIMEOUT is {conf().timeout} s, and the queue ends a task after {limit} s.",
            hint=f"Set it below {limit}, or run long answers with manage.py analyze_images.",
            id="analysis.W003",
        )
    ]


@register
def check_features(**kwargs: Any) -> list[CheckMessage]:
    """What Rekognition is asked for must be something that it has."""
    messages: list[CheckMessage] = []
    if unknown := sorted(set(conf().features) - set(FEATURES)):
        messages.append(
            Error(
                f"NOVAPROXY_ANALYSIS_FEATURES names {', '.join(unknown)}, which Rekognition does not have.",
                hint=f"Known are: {', '.join(sorted(FEATURES))}.",
                id="analysis.E001",
            )
        )
    biometric = [name for name in conf().features if name in FEATURES and FEATURES[name].biometric]
    if biometric and not conf().biometrics:
        messages.append(
            Error(
                f"NOVAPROXY_ANALYSIS_FEATURES names {', '.join(biometric)}, which are not turned on.",
                hint="Set NOVAPROXY_ANALYSIS_BIOMETRICS where the law lets you, or take them out.",
                id="analysis.E002",
            )
        )
    if CUSTOM in conf().features and not conf().custom_models:
        messages.append(
            Error(
                "NOVAPROXY_ANALYSIS_FEATURES names custom-labels, and no model is named.",
                hint="Set NOVAPROXY_ANALYSIS_CUSTOM_MODELS to the ARN of a running model.",
                id="analysis.E003",
            )
        )
    return messages


@register
def check_buckets(**kwargs: Any) -> list[CheckMessage]:
    """Amazon's services read from Amazon's buckets alone."""
    is_used = conf().region or conf().bucket
    if not is_used or conf().send == "bytes":
        return []
    foreign = {
        alias: str(endpoint)
        for alias, storage in settings.STORAGES.items()
        if (endpoint := storage.get("OPTIONS", {}).get("endpoint_url"))
        and not (urlsplit(str(endpoint)).hostname or "").endswith(_OURS)
    }
    return [
        Warning(
            f"The bucket of {alias} is at {endpoint}, where Amazon's services cannot read.",
            hint="Set NOVAPROXY_ANALYSIS_SEND=bytes to embed the pictures in the requests.",
            id="analysis.W004",
        )
        for alias, endpoint in sorted(foreign.items())
    ]

"""System checks for settings that cost money, send pictures to other regions, or cannot work."""

from __future__ import annotations

import os
from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from analysis.conf import conf
from analysis.providers.rekognition import CUSTOM, FEATURES
from media_files.storage.base import is_amazon_endpoint
from proxies.conf import queue_settings

# Amazon models that can be called only through an inference profile.
_BY_PROFILE_ONLY: Final = ("amazon.nova-2", "amazon.nova-premier")


# Regions from which inference profiles can be called, by prefix. Source: Bedrock user guide, "Supported
# Regions and models for inference profiles", November 2026.
_CALLED_FROM: Final = {
    "us": ("us-east-", "us-west-"),
    "us-gov": ("us-gov-",),
    "ca": ("ca-",),
    "sa": ("sa-",),
    "eu": ("eu-",),
    "jp": ("ap-northeast-1", "ap-northeast-3"),
    "au": ("ap-southeast-2", "ap-southeast-4"),
    "apac": ("ap-",),
    "global": ("",),
}


@register
def check_model(**kwargs: Any) -> list[CheckMessage]:
    """Check which regions the model may process pictures in, and whether it can be called from ours."""
    model, region = conf().model_id, _region()
    reported = f"NOVAPROXY_ANALYSIS_MODEL is {model!r}"
    prefix = model.partition(".")[0]
    if prefix == "global":
        return [
            Warning(
                f"{reported}: pictures may be read in any region of the world.",
                hint="Use the profile of your region (us.…) where they must not leave it.",
                id="analysis.W001",
            )
        ]
    if model.startswith(_BY_PROFILE_ONLY):
        return [
            Warning(
                f"{reported}, a bare model id: Bedrock refuses it and takes only inference profiles.",
                hint=f"Use {_prefix_of(region)}.{model}.",
                id="analysis.W002",
            )
        ]
    if not region or _is_callable(model, prefix, region):
        return []
    return [
        Warning(
            f"{reported}, which cannot be called from the region {region}.",
            hint=f"Use a model id that begins with {_prefix_of(region)}., or set NOVAPROXY_ANALYSIS_REGION.",
            id="analysis.W005",
        )
    ]


def _region() -> str:
    """Return the region from the settings or environment; reading AWS config files would load botocore."""
    return conf().region or os.environ.get("AWS_DEFAULT_REGION", "")


def _is_callable(model: str, prefix: str, region: str) -> bool:
    if model.startswith("arn:"):
        of_model = model.split(":")[3:4]
        return of_model in ([], [""], [region])
    return prefix not in _CALLED_FROM or region.startswith(_CALLED_FROM[prefix])


def _prefix_of(region: str) -> str:
    """Return the narrowest prefix that serves the region."""
    return next(
        (prefix for prefix, begins in _CALLED_FROM.items() if region and region.startswith(begins)), "us"
    )


@register
def check_timeout(**kwargs: Any) -> list[CheckMessage]:
    """Warn if the queue ends a task before the answer can arrive, which would be paid for and lost."""
    queue = queue_settings()
    limit = queue.get("timeout") or 0
    if not queue or conf().timeout < limit:
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
    """Check that the configured features exist in Rekognition and are allowed."""
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
    """Warn about buckets outside Amazon S3, which Amazon's services cannot read."""
    is_used = conf().region or conf().bucket
    if not is_used or conf().send == "bytes":
        return []
    foreign = {
        alias: str(endpoint)
        for alias, storage in settings.STORAGES.items()
        if not is_amazon_endpoint(endpoint := storage.get("OPTIONS", {}).get("endpoint_url"))
    }
    return [
        Warning(
            f"The bucket of {alias} is at {endpoint}, where Amazon's services cannot read.",
            hint="Pictures are embedded in the requests. Set NOVAPROXY_ANALYSIS_SEND=bytes to confirm that.",
            id="analysis.W004",
        )
        for alias, endpoint in sorted(foreign.items())
    ]

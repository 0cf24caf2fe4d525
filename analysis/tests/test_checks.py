"""System checks report settings that cost money, send data elsewhere or cannot work; boto3 loads lazily."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.checks import run_checks

from novaproxy_site.tests.installation import Installation

BUCKET = {"BACKEND": "media_files.storage.s3.BucketStorage", "OPTIONS": {"endpoint_url": "http://minio:9000"}}
CASES: dict[str, dict[str, Any]] = {
    "analysis.W001": {"NOVAPROXY_ANALYSIS_MODEL": "global.amazon.nova-2-lite-v1:0"},
    "analysis.W002": {"NOVAPROXY_ANALYSIS_MODEL": "amazon.nova-2-lite-v1:0"},
    "analysis.W003": {"NOVAPROXY_ANALYSIS_TIMEOUT": 3600},
    "analysis.W004": {"NOVAPROXY_ANALYSIS_REGION": "us-east-1", "STORAGES": {"proxies": BUCKET}},
    "analysis.E001": {"NOVAPROXY_ANALYSIS_FEATURES": ["labels", "horoscope"]},
    "analysis.E002": {"NOVAPROXY_ANALYSIS_FEATURES": ["faces"]},
    "analysis.E003": {"NOVAPROXY_ANALYSIS_FEATURES": ["custom-labels"]},
}


def reported() -> list[str]:
    return [str(message.id) for message in run_checks() if str(message.id).startswith("analysis.")]


def test_the_defaults_pass() -> None:
    assert reported() == []


@pytest.mark.parametrize("check", CASES)
def test_checks_report_bad_settings(settings: Any, check: str) -> None:
    for name, value in CASES[check].items():
        setattr(settings, name, getattr(settings, name) | value if name == "STORAGES" else value)
    assert reported() == [check]


@pytest.mark.parametrize(
    ("model", "region", "check"),
    [
        ("us.amazon.nova-2-lite-v1:0", "us-west-2", None),
        ("us.amazon.nova-2-lite-v1:0", "eu-west-1", "eu."),
        ("us.amazon.nova-2-lite-v1:0", "us-gov-west-1", "us-gov."),
        ("eu.amazon.nova-2-lite-v1:0", "eu-central-1", None),
        ("eu.amazon.nova-2-lite-v1:0", "us-east-1", "us."),
        ("jp.amazon.nova-2-lite-v1:0", "ap-northeast-1", None),
        ("jp.amazon.nova-2-lite-v1:0", "ap-south-1", "apac."),
        ("apac.amazon.nova-lite-v1:0", "ap-south-1", None),
        ("apac.amazon.nova-lite-v1:0", "ap-northeast-1", None),
        ("apac.amazon.nova-lite-v1:0", "us-east-1", "us."),
        ("amazon.nova-lite-v1:0", "us-east-1", None),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova-2-lite-v1:0", "us-east-1", None),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova-2-lite-v1:0", "eu-west-1", "eu."),
    ],
)
def test_a_model_must_be_callable_from_the_region(
    settings: Any, model: str, region: str, check: str | None
) -> None:
    settings.NOVAPROXY_ANALYSIS_MODEL, settings.NOVAPROXY_ANALYSIS_REGION = model, region
    found = [message for message in run_checks() if str(message.id).startswith("analysis.")]
    if check is None:
        assert found == []
    else:
        assert [message.id for message in found] == ["analysis.W005"]
        assert f"begins with {check}" in str(found[0].hint)


@pytest.mark.parametrize(
    ("region", "profile"),
    [("eu-west-1", "eu."), ("us-east-2", "us."), ("ap-northeast-1", "jp."), ("ap-south-1", "apac.")],
)
def test_a_bare_model_id_gets_the_hint_of_the_regional_profile(
    settings: Any, region: str, profile: str
) -> None:
    settings.NOVAPROXY_ANALYSIS_REGION = region
    settings.NOVAPROXY_ANALYSIS_MODEL = "amazon.nova-2-lite-v1:0"
    (message,) = [message for message in run_checks() if str(message.id).startswith("analysis.")]
    assert (message.id, message.hint) == ("analysis.W002", f"Use {profile}amazon.nova-2-lite-v1:0.")


def test_a_foreign_bucket_is_allowed_if_bytes_are_embedded(settings: Any) -> None:
    settings.NOVAPROXY_ANALYSIS_SEND = "bytes"
    settings.NOVAPROXY_ANALYSIS_REGION = "us-east-1"
    settings.STORAGES = settings.STORAGES | {"proxies": BUCKET}
    assert reported() == []


def test_boto3_is_not_loaded_before_the_first_call(install: Callable[..., Installation]) -> None:
    loaded = install().shell("""
        import sys
        from django.core.management import call_command
        from django.urls import reverse
        call_command("check")
        reverse("api")
        print("boto3" in sys.modules, "botocore" in sys.modules)
    """)
    assert loaded.split()[-2:] == ["False", "False"]

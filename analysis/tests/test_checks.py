"""Settings that cost, lead elsewhere or cannot work are told of at start; what is idle is not loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.checks import run_checks

from novaproxy_site.tests.installation import Installation

BUCKET = {"BACKEND": "media_files.storage.BucketStorage", "OPTIONS": {"endpoint_url": "http://minio:9000"}}
CASES: dict[str, dict[str, Any]] = {
    "analysis.W001": {"NOVAPROXY_ANALYSIS_MODEL": "global.amazon.nova-2-lite-v1:0"},
    "analysis.W002": {"NOVAPROXY_ANALYSIS_MODEL": "amazon.nova-2-lite-v1:0"},
    "analysis.W003": {"NOVAPROXY_ANALYSIS_TIMEOUT": 3600},
    "analysis.W004": {"NOVAPROXY_ANALYSIS_REGION": "us-east-1", "STORAGES": {"proxies": BUCKET}},
    "analysis.E001": {"NOVAPROXY_ANALYSIS_FEATURES": ["labels", "horoscope"]},
    "analysis.E002": {"NOVAPROXY_ANALYSIS_FEATURES": ["faces"]},
    "analysis.E003": {"NOVAPROXY_ANALYSIS_FEATURES": ["custom-labels"]},
}


def told() -> list[str]:
    return [str(message.id) for message in run_checks() if str(message.id).startswith("analysis.")]


def test_the_defaults_are_in_order() -> None:
    assert told() == []


@pytest.mark.parametrize("check", CASES)
def test_a_check_tells(settings: Any, check: str) -> None:
    for name, value in CASES[check].items():
        setattr(settings, name, getattr(settings, name) | value if name == "STORAGES" else value)
    assert told() == [check]


def test_a_foreign_bucket_is_in_order_where_bytes_are_sent(settings: Any) -> None:
    settings.NOVAPROXY_ANALYSIS_SEND = "bytes"
    settings.NOVAPROXY_ANALYSIS_REGION = "us-east-1"
    settings.STORAGES = settings.STORAGES | {"proxies": BUCKET}
    assert told() == []


def test_nothing_loads_boto3_before_a_model_is_asked(install: Callable[..., Installation]) -> None:
    loaded = install().shell("""
        import sys
        from django.core.management import call_command
        from django.urls import reverse
        call_command("check")
        reverse("api")
        print("boto3" in sys.modules, "botocore" in sys.modules)
    """)
    assert loaded.split()[-2:] == ["False", "False"]

"""Service errors over HTTP: what they are attributed to, and how many calls they cost."""

# ruff: noqa: E501  Each row of the table is one line.
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from analysis import pipeline
from analysis.errors import (
    AccessDenied,
    AnalysisError,
    ModelMissing,
    NotConfigured,
    ProviderUnavailable,
    QuotaReached,
    RequestRejected,
    ServiceNotConfigured,
    ServiceWrongRegion,
    Throttled,
    WrongRegion,
)
from analysis.models import Analysis
from analysis.providers import aws
from analysis.services import AnalysisService
from analysis.tests.conftest import forget
from analysis.tests.test_operation import run, start
from analysis.tests.wire import Raw, Refused, Service
from media_files.models import MediaFile

Keep = Callable[..., MediaFile]
INVALID = "ValidationException"

# (status, code, message, error class, part of the remedy)
SET_UP: list[tuple[int, str, str, type[AnalysisError], str]] = [
    (400, INVALID, "The provided model identifier is invalid.", ModelMissing, "inference profile"),
    (
        400, INVALID,
        "Invocation of model ID amazon.nova-2-lite-v1:0 with on-demand throughput isn\u2019t supported. Retry your request with the ID or ARN of an inference profile that contains this model.",
        ModelMissing, "us.amazon",
    ),
    (400, INVALID, "The provided model doesn't support on-demand throughput.", ModelMissing, "us.amazon"),
    (
        400, INVALID,
        "This model doesn't support the toolConfig.toolChoice.tool field. Remove it and try again.",
        ServiceNotConfigured, "NOVAPROXY_ANALYSIS_MODEL",
    ),
    (400, INVALID, "This model doesn't support tool use.", ServiceNotConfigured, "NOVAPROXY_ANALYSIS_MODEL"),
    (400, INVALID, "The model does not support image input", ServiceNotConfigured, "MODEL"),
    (
        400, INVALID, "The maximum tokens you requested exceeds the model limit of 10000.",
        ServiceNotConfigured, "MAX_TOKENS",
    ),
    (400, INVALID, "The provided ServiceTier value is not supported.", ServiceNotConfigured, "SERVICE_TIER"),
    (400, INVALID, "Operation not allowed", AccessDenied, "AWS Support"),
    (400, INVALID, "Failed to access the S3 object: Access Denied", AccessDenied, "s3:GetObject"),
    (400, INVALID, "Invalid S3 credentials", AccessDenied, "s3:GetObject"),
    (400, INVALID, "The bucket is in a different region than the model.", ServiceWrongRegion, "REGION"),
    (429, "ThrottlingException", "Too many tokens per day, please wait before trying again.", QuotaReached, "quota"),
    (400, "ServiceQuotaExceededException", "Over the quota.", QuotaReached, "quota"),
    (404, "ResourceNotFoundException", "Model use case details have not been submitted.", AccessDenied, "console"),
    (404, "ResourceNotFoundException", "This model version has reached the end of its life.", ModelMissing, "MODEL"),
    (403, "AccessDeniedException", "You don't have access to the model.", AccessDenied, "enabled"),
    (403, "ExpiredTokenException", "The security token included in the request is expired", AccessDenied, "renew"),
    (403, "UnrecognizedClientException", "The security token is invalid.", AccessDenied, "credentials"),
    (403, "InvalidSignatureException", "Signature expired: 20261126T000000Z is now earlier than", AccessDenied, "clock"),
    (403, "InvalidSignatureException", "Signature not yet current: 20291126T000000Z", AccessDenied, "clock"),
    (403, "InvalidSignatureException", "Credential should be scoped to a valid region.", ServiceWrongRegion, "REGION"),
    (403, "NewlyNamedException", "No.", AccessDenied, "credentials"),
    (404, "UnknownOperationException", "", ServiceWrongRegion, "REGION"),
]  # fmt: skip
REKOGNITION: list[tuple[int, str, str, type[AnalysisError], str]] = [
    (400, "AccessDeniedException", "User is not authorized to perform: rekognition:DetectLabels", AccessDenied, "may"),
    (400, "OptInRequired", "The AWS Access Key Id needs a subscription for the service", AccessDenied, "account"),
    (400, "SubscriptionRequiredException", "A subscription is required.", AccessDenied, "account"),
    (400, "UnrecognizedClientException", "The security token is invalid.", AccessDenied, "credentials"),
    (400, "InvalidSignatureException", "Signature expired: is now earlier than", AccessDenied, "clock"),
    (400, "ExpiredTokenException", "The security token included in the request is expired", AccessDenied, "renew"),
    (400, "ResourceNotReadyException", "The model is not running.", ModelMissing, "CUSTOM_MODELS"),
    (400, "ResourceNotFoundException", "No such project version", ModelMissing, "CUSTOM_MODELS"),
    (400, "UnknownOperationException", "", ServiceWrongRegion, "REGION"),
]  # fmt: skip
OF_THE_PICTURE = [
    (400, INVALID, "The image cannot be decoded."),
    (400, INVALID, "The model does not support images larger than 8000 px."),
    (400, "InvalidImageFormatException", "Request has invalid image format"),
    (400, "ImageTooLargeException", "Image size is too large."),
    (400, "InvalidParameterException", "Request has invalid parameters: image too small."),
]


@pytest.mark.parametrize("row", SET_UP, ids=[f"{row[1]}: {row[2][:45]}" for row in SET_UP])
def test_bedrock_setup_errors_stop_a_batch_after_one_call(nova: Service, keep: Keep, row: Any) -> None:
    status, code, words, error, remedy = row
    nova.faults.append(Refused(status, code, words))
    _stops(AnalysisService().analyze(keep()).error, error, remedy)
    assert nova.requests == 1


@pytest.mark.parametrize("row", REKOGNITION, ids=[f"{row[1]}: {row[2][:45]}" for row in REKOGNITION])
def test_rekognition_setup_errors_stop_a_batch_after_one_call(
    rekognition: Service, keep: Keep, row: Any
) -> None:
    status, code, words, error, remedy = row
    rekognition.faults.append(Refused(status, code, words))
    _stops(AnalysisService("rekognition").analyze(keep()).error, error, remedy)
    assert rekognition.requests == 1


def _stops(found: Any, error: type[AnalysisError], remedy: str) -> None:
    assert type(found) is error, str(found)
    assert (found.stops_batch, found.transient) == (True, False)
    assert remedy in str(found)


@pytest.mark.parametrize(("status", "code", "words"), OF_THE_PICTURE)
def test_errors_of_one_picture_do_not_stop_a_batch(
    nova: Service, keep: Keep, status: int, code: str, words: str
) -> None:
    nova.faults.append(Refused(status, code, words))
    error = AnalysisService().analyze(keep()).error
    assert type(error) is RequestRejected
    assert not error.stops_batch


def test_setup_errors_keep_their_public_codes() -> None:
    assert (ServiceNotConfigured.code, ServiceWrongRegion.code) == (NotConfigured.code, WrongRegion.code)


@pytest.mark.usefixtures("tried_once")
def test_too_many_requests_per_second_are_throttling_not_a_quota(nova: Service, keep: Keep) -> None:
    nova.faults.append(
        Refused(429, "ThrottlingException", "Too many tokens, please wait before trying again.")
    )
    error = AnalysisService().analyze(keep()).error
    assert type(error) is Throttled
    assert error.transient


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "refused",
    [
        Refused(400, INVALID, "The provided model identifier is invalid."),
        Refused(429, "ThrottlingException", "Too many tokens per day, please wait before trying again."),
    ],
    ids=["model", "quota"],
)
def test_a_batch_pauses_after_one_call_and_keeps_its_files(
    nova: Service, keep: Keep, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_answered", set())
    for seed in range(3):
        keep(seed=seed)
    nova.faults.extend([refused] * 20)
    batch = run(start())
    assert (batch.state, nova.requests) == ("paused", 1)
    assert batch.paused_code in ("model_missing", "quota")
    assert set(batch.items.values_list("state", flat=True)) == {"queued"}


def test_an_unknown_model_is_missing(nova: Service, keep: Keep, settings: Any) -> None:
    settings.NOVAPROXY_ANALYSIS_MODEL = "amazon.nova-2-lite-v1:0"
    error = AnalysisService().analyze(keep()).error
    assert type(error) is ModelMissing
    assert "inference profile" in str(error)


def test_an_invalid_endpoint_is_a_configuration_error(
    nova: Service, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "not an address")
    forget()
    error = AnalysisService().analyze(keep()).error
    assert isinstance(error, NotConfigured)
    assert "AWS_ENDPOINT_URL" in str(error)
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", nova.endpoint)
    forget()


@pytest.mark.usefixtures("tried_once")
@pytest.mark.parametrize(
    ("region", "kind"), [("us-east-1", ProviderUnavailable), ("mars-1", ServiceWrongRegion)]
)
def test_a_region_without_the_service_is_a_configuration_error(
    nova: Service, keep: Keep, monkeypatch: pytest.MonkeyPatch, region: str, kind: type
) -> None:
    """Nothing listens at the endpoint, as in a region without the service."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://127.0.0.1:9")
    forget()
    assert type(AnalysisService().analyze(keep()).error) is kind


def test_an_unparsable_answer_is_kept_and_its_tokens_counted(nova: Service, keep: Keep) -> None:
    deep = b"[" * 100_000
    nova.faults.append(Raw(200, b'{"usage": {"inputTokens": 1500, "outputTokens": 200}, "output": ' + deep))
    assert AnalysisService().analyze(keep()).error is not None
    row = Analysis.objects.get()
    assert (row.error, row.usage["reported"]["output_tokens"]) == ("malformed_output", 200)
    assert row.cost
    assert row.raw[aws.UNPARSED].startswith('{"usage"')

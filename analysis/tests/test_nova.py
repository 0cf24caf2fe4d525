"""Nova over HTTP, with a real client."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from analysis.errors import (
    AccessDenied,
    ContentFiltered,
    MalformedOutput,
    ModelMissing,
    NotConfigured,
    OutputTruncated,
    ProviderError,
    ProviderTimeout,
    ProviderUnavailable,
    RequestRejected,
    Throttled,
)
from analysis.models import Analysis
from analysis.providers import aws, get
from analysis.providers.base import Image as Sent
from analysis.providers.base import Options, S3Location
from analysis.services import AnalysisService
from analysis.tests import model_answers
from analysis.tests.conftest import forget
from analysis.tests.wire import Raw, Refused, Service, Slow
from media_files.errors import FileTooLarge, ImageTooLarge, UnsupportedFormat
from media_files.models import MediaFile
from media_files.tests.pictures import encoded, jpeg, turned_jpeg
from proxies.outcomes import Outcome

Add = Callable[..., MediaFile]

THROTTLED = Refused(429, "ThrottlingException", "Too many requests")
DENIED = Refused(403, "AccessDeniedException", "You don't have access to the model")


def analyze(file: MediaFile, **options: Any) -> Analysis:
    """Analyse with Nova; return the row, which contains any error."""
    return AnalysisService("nova", **options).analyze(file).analyses[0]


def test_a_picture_is_described_through_its_proxy(nova: Service, keep: Add) -> None:
    file = keep(jpeg(1800, 1000))
    result = AnalysisService("nova").analyze(file)
    assert (result.outcome, result.error) == (Outcome.CREATED, None)
    (asked,) = nova.paid
    assert (asked.by_s3, asked.format, asked.size) == (False, "JPEG", (1613, 896))
    (row,) = result.analyses
    assert (row.status, row.sent, row.bytes) == ("done", "proxy", len(asked.content))
    assert (row.width, row.height) == asked.size
    assert row.result["caption"] == "A lighthouse on a rock."
    assert row.result["objects"] == [
        {"name": "Tower", "confidence": 0.95, "box": {"left": 0.25, "top": 0.1, "width": 0.25, "height": 0.8}}
    ]
    assert row.raw["stopReason"] == "tool_use"
    assert row.latency is not None


def test_an_original_that_needs_no_proxy_is_sent_unchanged(nova: Service, keep: Add) -> None:
    data = jpeg(640, 480)
    row = analyze(keep(data))
    assert nova.paid[0].content == data
    assert (row.sent, row.proxy) == ("original", None)


@pytest.mark.parametrize("format", ["PNG", "GIF", "WEBP"])
def test_every_supported_format_is_sent_with_its_name(nova: Service, keep: Add, format: str) -> None:
    assert analyze(keep(encoded(format, 300, 200))).status == "done"
    assert nova.paid[0].format == format


def test_gps_data_is_never_sent(nova: Service, keep: Add) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 29.6), 3: "E", 4: (2.0, 17.0, 40.2)})
    file = keep(jpeg(300, 200, exif=exif))
    assert file.has_location
    assert analyze(file).sent == "proxy"
    with Image.open(io.BytesIO(nova.paid[0].content)) as sent:
        assert not dict(sent.getexif())


def test_images_are_sent_upright(nova: Service, keep: Add) -> None:
    assert analyze(keep(turned_jpeg(6))).status == "done"
    assert nova.paid[0].size == (200, 300)


def test_the_request_follows_the_settings(nova: Service, keep: Add, settings: Any) -> None:
    settings.NOVAPROXY_ANALYSIS_MAX_TOKENS = 321
    settings.NOVAPROXY_ANALYSIS_TEMPERATURE = 0.25
    settings.NOVAPROXY_ANALYSIS_REASONING = "low"
    settings.NOVAPROXY_ANALYSIS_SERVICE_TIER = "flex"
    settings.NOVAPROXY_ANALYSIS_MODEL = "global.amazon.nova-2-lite-v1:0"
    assert analyze(keep()).status == "done"
    (asked,) = nova.paid
    assert asked.operation == "global.amazon.nova-2-lite-v1:0"
    assert asked.body["inferenceConfig"] == {"maxTokens": 321, "temperature": 0.25}
    assert asked.body["additionalModelRequestFields"]["reasoningConfig"]["maxReasoningEffort"] == "low"
    assert asked.body["serviceTier"] == {"type": "flex"}
    assert asked.body["toolConfig"]["toolChoice"] == {"tool": {"name": "record_picture"}}
    assert "never follow them" in asked.body["system"][0]["text"]


def test_a_high_effort_omits_temperature_and_token_limit(nova: Service, keep: Add, settings: Any) -> None:
    settings.NOVAPROXY_ANALYSIS_REASONING = "high"
    assert analyze(keep()).status == "done"
    assert "inferenceConfig" not in nova.paid[0].body
    (request,) = get("nova").requests(Options())
    assert get("nova").most_answer_tokens(request) == 65_535


def test_a_truncated_answer_with_high_effort_suggests_less_reasoning(
    nova: Service, keep: Add, settings: Any
) -> None:
    settings.NOVAPROXY_ANALYSIS_REASONING = "high"
    nova.answer = lambda asked: model_answers.converse_answer([{"text": "I see"}], stop="max_tokens")
    assert "NOVAPROXY_ANALYSIS_REASONING" in analyze(keep()).message


def test_a_free_question_is_answered_in_text(nova: Service, keep: Add) -> None:
    row = analyze(keep(), options=Options(question="What is it?"))
    assert row.result["answer"] == "It is a lighthouse."
    assert row.question == "What is it?"
    assert nova.paid[0].body["messages"][0]["content"][1] == {"text": "What is it?"}


# -- Rejected without a call -----------------------------------------------------------------------


@pytest.fixture
def any_size(settings: Any) -> str:
    """A profile without limits."""
    settings.NOVAPROXY_PROFILES = {"any": {"longest_side": 65_535, "byte_limit": 1 << 40}}
    return "any"


def test_too_many_bytes_are_rejected_with_the_limit_and_the_remedy(
    nova: Service, keep: Add, any_size: str
) -> None:
    file = keep(encoded("PNG", 2600, 2600, compress_level=0))
    with pytest.raises(FileTooLarge, match=r"18,000,000 in a request.*NOVAPROXY_ANALYSIS_BUCKET"):
        analyze(file, profile=any_size)
    assert nova.requests == 0


def test_a_side_that_is_too_long_is_rejected(nova: Service, keep: Add, any_size: str) -> None:
    with pytest.raises(ImageTooLarge, match="8,000 px"):
        analyze(keep(jpeg(8001, 90)), profile=any_size)
    assert nova.requests == 0


def test_a_uri_that_is_too_long_is_rejected(nova: Service) -> None:
    provider = get("nova")
    (request,) = provider.requests(Options())
    with pytest.raises(RequestRejected, match="NOVAPROXY_ANALYSIS_SEND=bytes"):
        provider.ask(request, Sent("JPEG", 300, 200, 1000), S3Location("bucket", "k" * 1024))
    assert nova.requests == 0


def test_an_unsupported_format_is_rejected() -> None:
    with pytest.raises(UnsupportedFormat, match="profile"):
        get("nova").check(Sent("TIFF", 300, 200, 1000), embedded=True)


# -- Failures --------------------------------------------------------------------------------------


def test_throttled_three_times_then_answered(nova: Service, keep: Add) -> None:
    nova.faults.extend([THROTTLED] * 3)
    assert analyze(keep()).status == "done"
    assert (nova.requests, len(nova.paid)) == (4, 1)


FAILURES = [
    pytest.param([THROTTLED], Throttled, True, id="throttled for good"),
    pytest.param([Refused(500, "InternalServerException")], ProviderUnavailable, True, id="500"),
    pytest.param([Refused(503, "ServiceUnavailableException")], ProviderUnavailable, True, id="503"),
    pytest.param([Refused(424, "ModelErrorException")], ProviderUnavailable, True, id="424"),
    pytest.param([Refused(408, "ModelTimeoutException")], ProviderTimeout, True, id="408"),
    pytest.param([Refused(429, "ModelNotReadyException")], Throttled, True, id="not ready"),
    pytest.param([DENIED], AccessDenied, False, id="access denied"),
    pytest.param([Refused(404, "ResourceNotFoundException")], ModelMissing, False, id="no such model"),
    pytest.param([Refused(400, "ValidationException", "Too odd")], RequestRejected, False, id="refused"),
    pytest.param([Raw(200, b"<html>")], MalformedOutput, False, id="no JSON"),
]


@pytest.mark.usefixtures("tried_once")
@pytest.mark.parametrize(("faults", "kind", "transient"), FAILURES)
def test_a_failure_has_a_code_and_is_transient_or_not(
    nova: Service, keep: Add, faults: list[Any], kind: type[ProviderError], transient: bool
) -> None:
    nova.faults.extend(faults)
    result = AnalysisService("nova").analyze(keep())
    assert type(result.error) is kind
    assert result.error.transient is transient
    (row,) = result.analyses
    assert (result.outcome, row.status, row.error) == ("failed", "failed", kind.code)
    assert nova.paid == []


def test_a_timeout_is_not_retried_at_once(nova: Service, keep: Add, settings: Any) -> None:
    settings.NOVAPROXY_ANALYSIS_TIMEOUT = 1
    nova.faults.append(Slow(2))
    result = AnalysisService("nova").analyze(keep())
    assert isinstance(result.error, ProviderTimeout)
    # It may have been billed: only the batch retries it.
    assert nova.requests == 1


def test_a_slow_failure_is_not_retried_at_once(
    nova: Service, keep: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attempts that take a minute each would exceed the queue's time limit for a task."""
    monkeypatch.setattr(aws, "QUICK", 0.2)
    nova.faults.append(Refused(503, "ServiceUnavailableException", "Busy", seconds=0.5))
    result = AnalysisService("nova").analyze(keep())
    assert isinstance(result.error, ProviderUnavailable)
    assert "Busy" in str(result.error)
    assert (nova.requests, result.error.transient) == (1, True)


BAD_OUTPUTS = [
    pytest.param({"caption": 7.5e300}, id="caption no text"),
    pytest.param({"labels": "Sea"}, id="labels no list"),
    pytest.param({"objects": [{"box": [1, 2, 3, 4], "confidence": 1}]}, id="no name"),
    pytest.param("A lighthouse", id="no object"),
    pytest.param([], id="list"),
    pytest.param({}, id="empty"),
    pytest.param({"weather": "fine"}, id="another object"),
]


def test_unreadable_usage_counts_as_zero(nova: Service, keep: Add) -> None:
    answer = model_answers.tool_answer(model_answers.LIGHTHOUSE)
    nova.answer = lambda asked: {**answer, "usage": {"inputTokens": -5, "outputTokens": 10**30}}
    row = analyze(keep())
    assert row.status == "done"
    assert not row.cost


@pytest.mark.parametrize("output", BAD_OUTPUTS)
def test_malformed_output_is_reported_and_kept(nova: Service, keep: Add, output: Any) -> None:
    nova.answer = lambda asked: model_answers.tool_answer(output)
    result = AnalysisService("nova").analyze(keep())
    assert isinstance(result.error, MalformedOutput)
    row = Analysis.objects.get()
    assert row.raw["output"]["message"]["content"][0]["toolUse"]["input"] == output
    assert row.usage["reported"] == {"input_tokens": 1500, "output_tokens": 200}
    assert row.cost is not None
    assert row.cost > 0


@pytest.mark.parametrize(
    ("stop", "kind"),
    [
        ("max_tokens", OutputTruncated),
        ("content_filtered", ContentFiltered),
        ("guardrail_intervened", ContentFiltered),
        ("malformed_tool_use", MalformedOutput),
        ("end_turn", MalformedOutput),
    ],
)
def test_an_abnormal_stop_reason_is_reported_and_the_answer_kept(
    nova: Service, keep: Add, stop: str, kind: type[ProviderError]
) -> None:
    nova.answer = lambda asked: model_answers.converse_answer([{"text": "I see"}], stop=stop)
    result = AnalysisService("nova").analyze(keep())
    assert type(result.error) is kind
    assert Analysis.objects.get().raw["stopReason"] == stop


def test_without_credentials_no_call_is_made_and_the_error_says_what_to_set(
    nova: Service, keep: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    forget()
    with pytest.raises(NotConfigured, match=r"NOVAPROXY_ANALYSIS_REGION.*AWS_ACCESS_KEY_ID"):
        AnalysisService("nova").analyze(keep())
    assert not Analysis.objects.exists()
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    forget()


def test_keys_are_never_logged(nova: Service, keep: Add, caplog: pytest.LogCaptureFixture) -> None:
    nova.faults.append(DENIED)
    with caplog.at_level("INFO"):
        AnalysisService("nova").analyze(keep())
    assert "test-secret-key" not in caplog.text + Analysis.objects.get().message


def test_tokens_are_stored_as_reported_and_as_billed(nova: Service, keep: Add) -> None:
    nova.answer = lambda asked: model_answers.tool_answer(model_answers.LIGHTHOUSE, tokens=(5000, 200))
    row = analyze(keep())
    assert row.usage["reported"]["input_tokens"] == 5000
    # 230 for the picture plus an estimate for the prompt, regardless of the reported tokens.
    billed = row.usage["billed"]["input_tokens"]
    assert 230 < billed < 1500
    assert row.cost is not None
    assert float(row.cost) == pytest.approx((billed * 0.33 + 200 * 2.75) / 1_000_000)
    assert row.price_date is not None
    assert "litellm" in row.price_source

"""Rekognition over HTTP, with a real client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from analysis.errors import (
    AccessDenied,
    ImageTooSmall,
    MalformedOutput,
    NotConfigured,
    ProviderUnavailable,
    RequestRejected,
    Throttled,
)
from analysis.models import Analysis
from analysis.providers.base import Options
from analysis.services import AnalysisService
from analysis.tests.wire import Refused, Service
from media_files.errors import FileTooLarge, ImageTooLarge, UnsupportedFormat
from media_files.models import MediaFile
from media_files.tests.pictures import encoded, jpeg
from proxies.outcomes import Outcome

Add = Callable[..., MediaFile]
BOX = {"left": 0.25, "top": 0.1, "width": 0.25, "height": 0.8}
ARN = "arn:aws:rekognition:us-east-1:123456789012:project/lamps/version/1/1700000000000"


def service(*features: str, **options: Any) -> AnalysisService:
    return AnalysisService("rekognition", options=Options(features=features), **options)


def test_each_feature_is_a_separate_call_and_record(rekognition: Service, keep: Add) -> None:
    result = service().analyze(keep())
    assert [asked.operation for asked in rekognition.paid] == ["DetectLabels", "DetectText"]
    labels, text = result.analyses
    assert (labels.model, text.model) == ("labels", "text")
    assert labels.result["labels"][0] == {"name": "Lighthouse", "confidence": 0.985, "box": None}
    assert labels.result["objects"] == [{"name": "Lighthouse", "confidence": 0.97, "box": BOX}]
    assert [each["name"] for each in text.result["text"]] == ["KEEP OUT"]
    assert len(text.raw["TextDetections"]) == 2
    assert (labels.model_version, str(labels.cost)) == ("3.0", "0.001")


FEATURES = {
    "moderation": ("safety", "Smoking", None),
    "protective-equipment": ("objects", "Head cover", BOX),
    "faces": ("objects", "Face", BOX),
    "celebrities": ("objects", "Somebody", BOX),
}


@pytest.mark.parametrize("feature", FEATURES)
def test_every_feature_returns_a_result(rekognition: Service, keep: Add, settings: Any, feature: str) -> None:
    kind, name, box = FEATURES[feature]
    settings.NOVAPROXY_ANALYSIS_BIOMETRICS = True
    (row,) = service(feature).analyze(keep()).analyses
    found = {each["name"]: each["box"] for each in row.result[kind]}
    assert found[name] == box


def test_custom_labels_name_their_model(rekognition: Service, keep: Add, settings: Any) -> None:
    settings.NOVAPROXY_ANALYSIS_CUSTOM_MODELS = [ARN]
    (row,) = service("custom-labels").analyze(keep()).analyses
    assert rekognition.paid[0].body["ProjectVersionArn"] == ARN
    assert row.model == ARN
    assert row.result["objects"][0]["name"] == "Our lamp"


@pytest.mark.parametrize("feature", ["faces", "celebrities"])
def test_biometric_features_are_off_until_a_setting_turns_them_on(feature: str) -> None:
    with pytest.raises(NotConfigured, match="NOVAPROXY_ANALYSIS_BIOMETRICS"):
        service(feature)


@pytest.mark.parametrize(
    "options", [Options(features=("horoscope",)), Options(question="Who is it?")], ids=["feature", "question"]
)
def test_unsupported_options_are_rejected(options: Options) -> None:
    with pytest.raises(ValueError, match="Rekognition"):
        AnalysisService("rekognition", options=options)


def test_the_rekognition_profile_keeps_the_pixels(rekognition: Service, keep: Add) -> None:
    file = keep(encoded("WEBP", 2400, 1600))
    (row,) = service("text", profile="rekognition").analyze(file).analyses
    assert rekognition.paid[0].size == (2400, 1600)
    assert rekognition.paid[0].format == "JPEG"
    assert row.proxy is not None
    assert str(row.proxy.image.name).endswith("_rekognition.jpg")


# -- Rejected without a call -----------------------------------------------------------------------


def test_an_unsupported_format_is_rejected_with_the_remedy(rekognition: Service, keep: Add) -> None:
    with pytest.raises(UnsupportedFormat, match="profile rekognition"):
        service().analyze(keep(encoded("WEBP", 300, 200)))
    assert rekognition.requests == 0
    assert not Analysis.objects.exists()


def test_a_side_that_is_too_short_is_rejected(rekognition: Service, keep: Add) -> None:
    with pytest.raises(ImageTooSmall, match="80 px"):
        service().analyze(keep(jpeg(300, 79)))
    assert rekognition.requests == 0


def test_a_side_that_is_too_long_is_rejected(rekognition: Service, keep: Add, settings: Any) -> None:
    settings.NOVAPROXY_LONGEST_SIDE = 20_000
    with pytest.raises(ImageTooLarge, match="10,000 px"):
        service().analyze(keep(jpeg(10_100, 90)))
    assert rekognition.requests == 0


def test_too_many_bytes_are_rejected(rekognition: Service, keep: Add) -> None:
    data = encoded("PNG", 800, 2300, compress_level=0)
    with pytest.raises(FileTooLarge, match="5,242,880"):
        service().analyze(keep(data))
    assert rekognition.requests == 0


# -- Failures --------------------------------------------------------------------------------------

FAILURES = [
    ("ProvisionedThroughputExceededException", 400, Throttled),
    ("ThrottlingException", 400, Throttled),
    ("InternalServerError", 500, ProviderUnavailable),
    ("AccessDeniedException", 400, AccessDenied),
    ("InvalidParameterException", 400, RequestRejected),
    ("ImageTooLargeException", 400, RequestRejected),
    ("InvalidImageFormatException", 400, RequestRejected),
]


@pytest.mark.usefixtures("tried_once")
@pytest.mark.parametrize(("code", "status", "kind"), FAILURES, ids=[row[0] for row in FAILURES])
def test_a_failure_has_its_error_class(
    rekognition: Service, keep: Add, code: str, status: int, kind: type[Exception]
) -> None:
    rekognition.faults.append(Refused(status, code))
    result = service("labels").analyze(keep())
    assert type(result.error) is kind
    assert code in str(result.error)


def test_answers_before_a_failure_are_kept_and_not_requested_again(rekognition: Service, keep: Add) -> None:
    file = keep()
    rekognition.faults.extend([None, Refused(400, "InvalidParameterException")])
    first = service("labels", "text").analyze(file)
    assert [row.status for row in first.analyses] == ["done", "failed"]
    second = service("labels", "text").analyze(file)
    assert second.outcome == Outcome.REPLACED
    assert [asked.operation for asked in rekognition.paid] == ["DetectLabels", "DetectText"]


@pytest.mark.usefixtures("tried_once")
def test_a_malformed_answer_is_reported(rekognition: Service, keep: Add) -> None:
    rekognition.answer = lambda asked: {"Labels": [{"Name": "Sea", "Instances": "none"}]}
    result = service("labels").analyze(keep())
    assert isinstance(result.error, MalformedOutput)

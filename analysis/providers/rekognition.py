"""Amazon Rekognition: labels, text, moderation, protective equipment, custom labels, and if enabled by a
setting, faces and celebrities. Each is a separate call, and each answer a separate record.

Sources: Rekognition developer guide, "Limits" and "Image orientation"; botocore's model rekognition
2016-06-27.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from analysis import prices
from analysis.answer_parsing import Reader, box_of_ratios, object_of, percent_of, text_of
from analysis.conf import conf
from analysis.errors import MalformedOutput, NotConfigured, Paid, ProviderError
from analysis.prices import Price
from analysis.providers import aws
from analysis.providers.base import Answer, Image, Options, Provider, Request, S3Location, Usage, register
from analysis.providers.limits import Limits
from analysis.results import Box, Found, Result

# Increase when the question changes. A change to the parser needs no new answers.
VERSION: Final = 1

LIMITS: Final = Limits(
    label="Rekognition",
    formats=("JPEG", "PNG"),
    shortest_side=80,
    longest_side=10_000,  # of DetectLabels and DetectModerationLabels
    embedded=5_242_880,
    in_bucket=15_000_000,
    profile="rekognition",
)
CUSTOM: Final = "custom-labels"

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature of Rekognition.

    Attributes:
        operation: boto3's method.
        read: parses the answer.
        parameters: returns the call's parameters for a minimum confidence in percent.
        version: key of the model's version in the answer.
        biometric: whether laws on biometric data apply.
    """

    operation: str
    read: Callable[[Json, Reader], Result]
    parameters: Callable[[float], dict[str, Any]] = lambda least: {}
    version: str = ""
    biometric: bool = False


class RekognitionProvider(Provider):
    name = "rekognition"
    label = "Rekognition"
    service = "rekognition"
    shortest_side = LIMITS.shortest_side

    def requests(self, options: Options) -> list[Request]:
        if options.question:
            raise ValueError("Rekognition answers no free questions; Nova does.")
        made: list[Request] = []
        for name in dict.fromkeys(options.features or conf().features):
            made.extend(_requests(name))
        if not made:
            raise NotConfigured("No Rekognition feature is selected. Set NOVAPROXY_ANALYSIS_FEATURES.")
        return made

    def check(self, image: Image, *, embedded: bool) -> None:
        LIMITS.check(image, embedded=embedded)

    def ask(self, request: Request, image: Image, content: bytes | S3Location) -> Answer:
        feature = FEATURES[request.parameters["feature"]]
        source: dict[str, Any] = (
            {"S3Object": {"Bucket": content.bucket, "Name": content.key}}
            if isinstance(content, S3Location)
            else {"Bytes": content}
        )
        parameters = dict(request.parameters["call"])
        answer = aws.call(self.service, feature.operation, Image=source, **parameters)
        version = str(answer.get(feature.version, "")) if feature.version else ""
        try:
            result = _read(feature, answer)
        except ProviderError as error:
            error.paid = Paid(answer)
            raise
        return Answer(result, answer, model_version=version[:64])

    def read(self, raw: Mapping[str, Any], *, model: str, question: str) -> Result:
        return _read(FEATURES.get(model, FEATURES[CUSTOM]), raw)

    def usage(self, request: Request, image: Image, tokens_in: int | None, tokens_out: int | None) -> Usage:
        return Usage()

    def price(self, request: Request, usage: Usage) -> Price:
        return prices.price_of_image(custom_labels=request.parameters["feature"] == CUSTOM)

    def expected(self, request: Request, image: Image, *, answer_tokens: int | None) -> Usage:
        return Usage()

    def most_answer_tokens(self, request: Request) -> int | None:
        return None


def _requests(name: str) -> Iterator[Request]:
    """Yield the requests for one feature: one, or for custom labels one per model.

    Raises:
        ValueError: there is no such feature.
        NotConfigured: the settings do not allow it.
    """
    if name not in FEATURES:
        raise ValueError(f"Rekognition has no feature {name!r}. Known are: {', '.join(sorted(FEATURES))}.")
    feature = FEATURES[name]
    if feature.biometric and not conf().biometrics:
        raise NotConfigured(
            f"Rekognition's {name} read biometric data, for which laws may ask consent. "
            "Set NOVAPROXY_ANALYSIS_BIOMETRICS where you may use them."
        )
    call = feature.parameters(conf().min_confidence)
    if name != CUSTOM:
        yield Request(model=name, parameters={"feature": name, "call": call}, version=VERSION)
        return
    if not conf().custom_models:
        raise NotConfigured(
            "No custom label model is named. Set NOVAPROXY_ANALYSIS_CUSTOM_MODELS to its ARN."
        )
    for arn in conf().custom_models:
        parameters = {"feature": name, "call": {**call, "ProjectVersionArn": arn}}
        yield Request(model=arn, parameters=parameters, version=VERSION)


# -- Reading the answers ---------------------------------------------------------------------------


def _read(feature: Feature, answer: Json) -> Result:
    """Parse an answer.

    Raises:
        MalformedOutput: it has entries, but none is readable.
    """
    reader = Reader()
    result = replace(feature.read(answer, reader), dropped=reader.dropped)
    if result.is_empty and result.dropped:
        raise MalformedOutput("No part of Rekognition's answer can be read.")
    return result


def _read_labels(answer: Json, reader: Reader) -> Result:
    def label(entry: object) -> tuple[Found, list[Found]]:
        found = _found(reader, entry)
        instances = object_of(entry).get("Instances")
        return found, list(reader.each(partial(_instance, reader, found.name), instances))

    labels = list(reader.each(label, answer.get("Labels")))
    return Result(
        labels=[found for found, _ in labels],
        objects=[instance for _, instances in labels for instance in instances],
    )


def _read_text(answer: Json, reader: Reader) -> Result:
    """Parse the lines of text; their individual words are kept only in the raw answer."""

    def lines(entry: object) -> list[Found]:
        line = object_of(entry)
        if line.get("Type") != "LINE":
            return []
        return [Found(text_of(line.get("DetectedText")), _confidence(line, reader), _place(line, reader))]

    return Result(text=reader.all_of(lines, answer.get("TextDetections")))


def _read_moderation(answer: Json, reader: Reader) -> Result:
    return Result(safety=_each(answer, "ModerationLabels", partial(_found, reader), reader))


def _read_equipment(answer: Json, reader: Reader) -> Result:
    def worn(entry: object) -> Found:
        values = object_of(entry)
        name = text_of(values.get("Type")).replace("_", " ").capitalize()
        return _instance(reader, name, values)

    def worn_on(part: object) -> list[Found]:
        return list(reader.each(worn, object_of(part).get("EquipmentDetections")))

    def person(entry: object) -> list[Found]:
        return [
            _instance(reader, "Person", entry),
            *reader.all_of(worn_on, object_of(entry).get("BodyParts")),
        ]

    return Result(objects=reader.all_of(person, answer.get("Persons")))


def _read_custom(answer: Json, reader: Reader) -> Result:
    def label(entry: object) -> Found:
        found = _found(reader, entry)
        return Found(found.name, found.confidence, _place(object_of(entry), reader))

    found = _each(answer, "CustomLabels", label, reader)
    return Result(
        labels=[Found(each.name, each.confidence) for each in found],
        objects=[each for each in found if each.box],
    )


def _read_faces(answer: Json, reader: Reader) -> Result:
    return Result(objects=_each(answer, "FaceDetails", partial(_instance, reader, "Face"), reader))


def _read_celebrities(answer: Json, reader: Reader) -> Result:
    def celebrity(entry: object) -> Found:
        person = object_of(entry)
        face = reader.maybe(object_of, person.get("Face")) or {}
        confidence = reader.maybe(percent_of, person.get("MatchConfidence"))
        return Found(text_of(person.get("Name")), confidence, _box(face, reader))

    named = _each(answer, "CelebrityFaces", celebrity, reader)
    return Result(
        objects=named + _each(answer, "UnrecognizedFaces", partial(_instance, reader, "Face"), reader)
    )


def _each(answer: Json, key: str, read: Callable[[object], Found], reader: Reader) -> list[Found]:
    return list(reader.each(read, answer.get(key)))


def _found(reader: Reader, entry: object) -> Found:
    values = object_of(entry)
    return Found(text_of(values.get("Name")), _confidence(values, reader))


def _instance(reader: Reader, name: str, entry: object) -> Found:
    values = object_of(entry)
    return Found(name, _confidence(values, reader), _box(values, reader))


def _confidence(values: Json, reader: Reader) -> float | None:
    return reader.maybe(percent_of, values.get("Confidence"))


def _place(values: Json, reader: Reader) -> Box | None:
    return _box(reader.maybe(object_of, values.get("Geometry")) or {}, reader)


def _box(values: Json, reader: Reader) -> Box | None:
    return reader.maybe(_read_box, values.get("BoundingBox"))


def _read_box(value: object) -> Box:
    box = object_of(value)
    return box_of_ratios(box.get("Left"), box.get("Top"), box.get("Width"), box.get("Height"))


def _least(least: float) -> dict[str, Any]:
    return {"MinConfidence": least}


FEATURES: Final[dict[str, Feature]] = {
    "labels": Feature("detect_labels", _read_labels, _least, "LabelModelVersion"),
    "text": Feature(
        "detect_text",
        _read_text,
        lambda least: {"Filters": {"WordFilter": {"MinConfidence": least}}},
        "TextModelVersion",
    ),
    "moderation": Feature("detect_moderation_labels", _read_moderation, _least, "ModerationModelVersion"),
    "protective-equipment": Feature(
        "detect_protective_equipment", _read_equipment, version="ProtectiveEquipmentModelVersion"
    ),
    CUSTOM: Feature("detect_custom_labels", _read_custom, _least),
    "faces": Feature("detect_faces", _read_faces, biometric=True),
    "celebrities": Feature("recognize_celebrities", _read_celebrities, biometric=True),
}

register(RekognitionProvider())

"""Amazon Rekognition: labels, text, moderation, protective equipment, custom labels; faces and celebrities
where a setting turns them on. Each is a call of its own, and each answer a record.

Facts of the service: Rekognition developer guide, "Limits" and "Image orientation"; botocore's model
rekognition 2016-06-27.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from analysis import prices
from analysis.conf import conf
from analysis.errors import NotConfigured
from analysis.prices import Price
from analysis.providers import aws
from analysis.providers.base import Answer, Image, Place, Provider, Request, Usage, Wishes, register
from analysis.providers.limits import Limits
from analysis.results import (
    Box,
    Found,
    Result,
    box_of_ratios,
    entries_of,
    mapping_of,
    ratio_of,
    text_of,
)

# Raised by one when the reading of the answers changes.
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
_PERCENT: Final = 100
CUSTOM: Final = "custom-labels"

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that Rekognition can be asked for.

    Attributes:
        operation: boto3's method.
        read: makes a result of the answer.
        parameters: of the call, from the least confidence in percent.
        version: the key of the model's version in the answer.
        biometric: whether laws on biometric data are concerned.
    """

    operation: str
    read: Callable[[Json], Result]
    parameters: Callable[[float], dict[str, Any]] = lambda least: {}
    version: str = ""
    biometric: bool = False


class RekognitionProvider(Provider):
    name = "rekognition"
    label = "Rekognition"
    service = "rekognition"
    shortest_side = LIMITS.shortest_side

    def requests(self, wishes: Wishes) -> list[Request]:
        if wishes.question:
            raise ValueError("Rekognition answers no free questions; Nova does.")
        made: list[Request] = []
        for name in dict.fromkeys(wishes.features or conf().features):
            made.extend(_requests(name))
        if not made:
            raise NotConfigured("Rekognition is asked for nothing. Set NOVAPROXY_ANALYSIS_FEATURES.")
        return made

    def check(self, image: Image, *, embedded: bool) -> None:
        LIMITS.check(image, embedded=embedded)

    def ask(self, request: Request, image: Image, content: bytes | Place) -> Answer:
        feature = FEATURES[request.parameters["feature"]]
        source: dict[str, Any] = (
            {"S3Object": {"Bucket": content.bucket, "Name": content.key}}
            if isinstance(content, Place)
            else {"Bytes": content}
        )
        parameters = dict(request.parameters["call"])
        answer = aws.call(self.service, feature.operation, Image=source, **parameters)
        version = str(answer.get(feature.version, "")) if feature.version else ""
        return Answer(feature.read(answer), answer, model_version=version[:64])

    def usage(self, request: Request, image: Image, tokens_in: int | None, tokens_out: int | None) -> Usage:
        return Usage()

    def price(self, request: Request, usage: Usage) -> Price:
        return prices.price_of_image(custom_labels=request.parameters["feature"] == CUSTOM)

    def expected(self, request: Request, image: Image, *, answer_tokens: int | None) -> Usage:
        return Usage()

    def most_answer_tokens(self, request: Request) -> int | None:
        return None


def _requests(name: str) -> Iterator[Request]:
    """The calls for one feature: for custom labels as many as there are models.

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


def _read_labels(answer: Json) -> Result:
    labels: list[Found] = []
    objects: list[Found] = []
    for label in _list(answer, "Labels"):
        labels.append(_found(label))
        objects.extend(
            Found(_name(label), _confidence(instance), _box(instance.get("BoundingBox"), "instance"))
            for instance in _list(label, "Instances")
        )
    return Result(labels=labels, objects=objects)


def _read_text(answer: Json) -> Result:
    """The lines; the words that they are made of stay in the raw answer."""
    lines = [line for line in _list(answer, "TextDetections") if line.get("Type") == "LINE"]
    return Result(
        text=[
            Found(text_of(line.get("DetectedText"), "text"), _confidence(line), _place(line))
            for line in lines
        ]
    )


def _read_moderation(answer: Json) -> Result:
    return Result(safety=[_found(label) for label in _list(answer, "ModerationLabels")])


def _read_equipment(answer: Json) -> Result:
    objects = []
    for person in _list(answer, "Persons"):
        objects.append(Found("Person", _confidence(person), _box(person.get("BoundingBox"), "person")))
        for part in _list(person, "BodyParts"):
            for worn in _list(part, "EquipmentDetections"):
                name = text_of(worn.get("Type"), "equipment").replace("_", " ").capitalize()
                objects.append(Found(name, _confidence(worn), _box(worn.get("BoundingBox"), "equipment")))
    return Result(objects=objects)


def _read_custom(answer: Json) -> Result:
    found = [(_found(label), _place(label)) for label in _list(answer, "CustomLabels")]
    return Result(
        labels=[label for label, _ in found],
        objects=[Found(label.name, label.confidence, box) for label, box in found if box],
    )


def _read_faces(answer: Json) -> Result:
    return Result(
        objects=[
            Found("Face", _confidence(face), _box(face.get("BoundingBox"), "face"))
            for face in _list(answer, "FaceDetails")
        ]
    )


def _read_celebrities(answer: Json) -> Result:
    objects = []
    for person in _list(answer, "CelebrityFaces"):
        face = mapping_of(person.get("Face"), "face")
        sure = person.get("MatchConfidence")
        objects.append(
            Found(
                _name(person),
                None if sure is None else ratio_of(sure, "confidence", scale=_PERCENT),
                _box(face.get("BoundingBox"), "face"),
            )
        )
    objects.extend(
        Found("Face", _confidence(face), _box(face.get("BoundingBox"), "face"))
        for face in _list(answer, "UnrecognizedFaces")
    )
    return Result(objects=objects)


def _list(values: Json, key: str) -> list[Json]:
    return [mapping_of(each, key) for each in entries_of(values.get(key) or [], key)]


def _name(values: Json) -> str:
    return text_of(values.get("Name"), "name")


def _confidence(values: Json) -> float | None:
    value = values.get("Confidence")
    return None if value is None else round(ratio_of(value, "confidence", scale=_PERCENT), 4)


def _found(values: Json) -> Found:
    return Found(_name(values), _confidence(values))


def _place(values: Json) -> Box | None:
    return _box(mapping_of(values.get("Geometry") or {}, "geometry").get("BoundingBox"), "geometry")


def _box(value: object, what: str) -> Box | None:
    if value is None:
        return None
    box = mapping_of(value, f"{what}: box")
    return box_of_ratios(box.get("Left"), box.get("Top"), box.get("Width"), box.get("Height"), f"{what}: box")


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

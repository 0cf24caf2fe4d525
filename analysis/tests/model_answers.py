"""The fake services' answers."""

from __future__ import annotations

from typing import Any

from analysis.providers.nova import TOOL
from analysis.tests.wire import Asked

LIGHTHOUSE: dict[str, Any] = {
    "caption": "A lighthouse on a rock.",
    "labels": [{"name": "Lighthouse", "confidence": 0.98}, {"name": "Sea", "confidence": 0.9}],
    "text": [{"text": "KEEP OUT", "confidence": 0.8, "box": {"x1": 100, "y1": 800, "x2": 300, "y2": 850}}],
    "objects": [{"name": "Tower", "confidence": 0.95, "box": {"x1": 250, "y1": 100, "x2": 500, "y2": 900}}],
    "safety": [],
}


def tool_answer(
    output: Any, *, stop: str = "tool_use", tokens: tuple[int, int] = (1500, 200)
) -> dict[str, Any]:
    """Return a Converse answer that uses our tool."""
    use = {"toolUse": {"toolUseId": "tooluse_1", "name": TOOL, "input": output}}
    return converse_answer([use], stop=stop, tokens=tokens)


def converse_answer(
    content: list[Any], *, stop: str = "end_turn", tokens: tuple[int, int] = (1500, 200)
) -> dict[str, Any]:
    """Return a Converse answer with these content blocks."""
    return {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": stop,
        "usage": {"inputTokens": tokens[0], "outputTokens": tokens[1], "totalTokens": sum(tokens)},
        "metrics": {"latencyMs": 10},
    }


def nova(asked: Asked) -> dict[str, Any]:
    """Describe any picture as a lighthouse; answer a free question in plain text."""
    if "toolConfig" not in asked.body:
        return converse_answer([{"text": "It is a lighthouse."}])
    return tool_answer(LIGHTHOUSE)


_BOX = {"Left": 0.25, "Top": 0.1, "Width": 0.25, "Height": 0.8}

REKOGNITION: dict[str, dict[str, Any]] = {
    "DetectLabels": {
        "LabelModelVersion": "3.0",
        "Labels": [
            {
                "Name": "Lighthouse",
                "Confidence": 98.5,
                "Instances": [{"BoundingBox": _BOX, "Confidence": 97.0}],
                "Parents": [],
            },
            {"Name": "Sea", "Confidence": 90.0, "Instances": [], "Parents": []},
        ],
    },
    "DetectText": {
        "TextModelVersion": "3.0",
        "TextDetections": [
            {
                "DetectedText": "KEEP OUT", "Type": "LINE", "Id": 0, "Confidence": 99.0,
                "Geometry": {"BoundingBox": _BOX},
            },
            {
                "DetectedText": "KEEP", "Type": "WORD", "Id": 1, "ParentId": 0, "Confidence": 99.0,
                "Geometry": {"BoundingBox": _BOX},
            },
        ],
    },
    "DetectModerationLabels": {
        "ModerationModelVersion": "7.0",
        "ModerationLabels": [{"Name": "Smoking", "ParentName": "Drugs", "Confidence": 80.0}],
    },
    "DetectProtectiveEquipment": {
        "ProtectiveEquipmentModelVersion": "1.0",
        "Persons": [
            {
                "Id": 0, "Confidence": 99.0, "BoundingBox": _BOX,
                "BodyParts": [
                    {
                        "Name": "HEAD", "Confidence": 99.0,
                        "EquipmentDetections": [
                            {"Type": "HEAD_COVER", "Confidence": 95.0, "BoundingBox": _BOX}
                        ],
                    }
                ],
            }
        ],
    },
    "DetectCustomLabels": {
        "CustomLabels": [{"Name": "Our lamp", "Confidence": 88.0, "Geometry": {"BoundingBox": _BOX}}]
    },
    "DetectFaces": {"FaceDetails": [{"BoundingBox": _BOX, "Confidence": 99.9}]},
    "RecognizeCelebrities": {
        "CelebrityFaces": [
            {"Name": "Somebody", "Id": "a1", "MatchConfidence": 90.0, "Face": {"BoundingBox": _BOX}}
        ],
        "UnrecognizedFaces": [{"BoundingBox": _BOX, "Confidence": 99.0}],
    },
}  # fmt: skip


def rekognition(asked: Asked) -> dict[str, Any]:
    """Return the same answer for every picture."""
    return REKOGNITION[asked.operation]

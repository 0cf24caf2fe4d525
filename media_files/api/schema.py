"""The OpenAPI schema: adds the error responses of each action to what it returns."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.openapi import AutoSchema
from rest_framework import serializers

from media_files import errors


class DetailSerializer(serializers.Serializer[Any]):
    """What was wrong with the request."""

    detail = serializers.CharField()


def _codes() -> list[str]:
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return sorted(
        kind.code for kind in classes if issubclass(kind, errors.MediaError) and "code" in vars(kind)
    )


class FaultSerializer(serializers.Serializer[Any]):
    """A named error of a file or of its storage."""

    error = serializers.ChoiceField(choices=_codes())
    message = serializers.CharField(help_text="What was found, what is allowed, and what to do.")


# The response body for each status.
_INVALID: Final = {
    "type": "object",
    "additionalProperties": {"oneOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]},
    "description": "By the name of each field, what is wrong with it; or `detail`.",
}
_ALWAYS: Final[dict[int, Any]] = {
    400: _INVALID,
    401: DetailSerializer,
    403: DetailSerializer,
    429: DetailSerializer,
    503: FaultSerializer,
}
_WITH_BODY: Final[dict[int, Any]] = {411: DetailSerializer, 413: FaultSerializer, 415: DetailSerializer}
_ONE: Final[dict[int, Any]] = {404: DetailSerializer}


class Schema(AutoSchema):
    """Add the error statuses of each action.

    The common ones follow from the kind of action; a view lists more in ``further_errors``, by action.
    """

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        found = dict(_ALWAYS)
        if self.method == "POST":
            found |= _WITH_BODY
        if "{" in self.path:
            found |= _ONE
        found |= getattr(self.view, "further_errors", {}).get(getattr(self.view, "action", ""), {})
        for status, body in sorted(found.items()):
            bodies.setdefault(str(status), self._get_response_for_code(body, str(status)))  # type: ignore[no-untyped-call]
        return bodies

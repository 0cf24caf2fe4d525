"""Error responses of the REST API: one format, and advice on what to do."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Final

from django.http import Http404
from rest_framework.exceptions import NotFound, UnsupportedMediaType, ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler as default_handler
from rest_framework.views import set_rollback

from media_files.database import OUTAGES
from media_files.errors import MediaError, StorageError

logger = logging.getLogger(__name__)

# Seconds after which a caller may retry when the storage or the database did not answer.
RETRY_AFTER: Final = 5


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Return the response for an exception.

    Named errors give ``{"error": code, "message": what to do}`` with their HTTP status, invalid input gives
    ``{field: [what is wrong]}``, and everything else ``{"detail": ...}``.
    """
    if isinstance(error, OUTAGES):
        logger.error("The database did not answer: %s", error)
        error = StorageError("The database did not answer. Ask again shortly.")
    if isinstance(error, Http404 | NotFound):
        error = NotFound(
            f"There is nothing at {context['request'].path}. Check the address and the id in it; "
            "GET /api names the lists of what there is."
        )
    if isinstance(error, UnsupportedMediaType):
        parsers = context["request"].parsers
        read = ", ".join(dict.fromkeys(parser.media_type for parser in parsers))
        error = UnsupportedMediaType("", detail=f"{error.detail} Send {read}.")
    if isinstance(error, ValidationError):
        error = ValidationError(_by_field(error.detail))
    if not isinstance(error, MediaError):
        return default_handler(error, context)
    set_rollback()
    headers = {"Retry-After": str(RETRY_AFTER)} if error.http_status == 503 else {}
    return Response({"error": error.code, "message": str(error)}, status=error.http_status, headers=headers)


def _by_field(detail: Any) -> dict[str, Any]:
    """Flatten a serializer's errors into one list of sentences per field."""
    if isinstance(detail, dict):
        return {str(field): list(_sentences(found)) for field, found in detail.items()}
    return {"detail": " ".join(_sentences(detail))}


def _sentences(found: Any) -> Iterator[str]:
    if isinstance(found, dict):
        for key, inner in found.items():
            yield from (f"{key}: {sentence}" for sentence in _sentences(inner))
    elif isinstance(found, list | tuple):
        for inner in found:
            yield from _sentences(inner)
    else:
        yield str(found)

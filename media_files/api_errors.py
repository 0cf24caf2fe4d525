"""Named errors as the REST API answers them."""

from __future__ import annotations

from typing import Any, Final

from rest_framework.response import Response
from rest_framework.views import exception_handler as default_handler
from rest_framework.views import set_rollback

from media_files.errors import MediaError

# Seconds after which a caller may ask again where storage or database did not answer.
RETRY_AFTER: Final = 5


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """``{"error": code, "message": what to do}`` with the contract's status; all else as DRF answers it."""
    if not isinstance(error, MediaError):
        return default_handler(error, context)
    set_rollback()
    headers = {"Retry-After": str(RETRY_AFTER)} if error.http_status == 503 else {}
    return Response({"error": error.code, "message": str(error)}, status=error.http_status, headers=headers)

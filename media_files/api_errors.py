"""Named errors as the REST API answers them."""

from __future__ import annotations

import logging
from typing import Any, Final

from django.db import InterfaceError, OperationalError
from rest_framework.response import Response
from rest_framework.views import exception_handler as default_handler
from rest_framework.views import set_rollback

from media_files.errors import MediaError, StorageError

logger = logging.getLogger(__name__)

# Seconds after which a caller may ask again where storage or database did not answer.
RETRY_AFTER: Final = 5


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """``{"error": code, "message": what to do}`` with the contract's status; all else as DRF answers it."""
    if isinstance(error, OperationalError | InterfaceError):
        logger.error("The database did not answer: %s", error)
        error = StorageError("The database did not answer. Ask again shortly.")
    if not isinstance(error, MediaError):
        return default_handler(error, context)
    set_rollback()
    headers = {"Retry-After": str(RETRY_AFTER)} if error.http_status == 503 else {}
    return Response({"error": error.code, "message": str(error)}, status=error.http_status, headers=headers)

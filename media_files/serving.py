"""Sending a stored file to somebody who may see it."""

from __future__ import annotations

from typing import Any, Final

from django.http import FileResponse, HttpRequest, HttpResponseBase, HttpResponseNotModified
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag

from media_files.storage import MediaStorage

_UNKNOWN: Final = "application/octet-stream"


def file_response(
    request: HttpRequest, storage: MediaStorage, name: str, *, content_type: str, sha256: str, filename: str
) -> HttpResponseBase:
    """The bytes under ``name``, shown in place and never guessed at; nothing if the browser has them.

    Raises:
        SourceMissing, StorageError: as the storage says.
    """
    headers: dict[str, Any] = {
        # What people uploaded is data: no script in it may run, whatever a browser takes it for.
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-cache",
    }
    if sha256:
        etag = quote_etag(sha256)
        headers["ETag"] = etag
        unchanged = get_conditional_response(request, etag=etag)
        if isinstance(unchanged, HttpResponseNotModified):
            return HttpResponseNotModified(headers=headers)
    return FileResponse(
        storage.fetch(name),
        filename=filename or name.rpartition("/")[2],
        # By the bytes; without a word here Django would go by the name's extension.
        content_type=content_type or _UNKNOWN,
        headers=headers,
    )

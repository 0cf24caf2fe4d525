"""Sending a stored file to somebody who may see it."""

from __future__ import annotations

from typing import Any

from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseNotModified

from media_files.storage import MediaStorage


def file_response(
    request: HttpRequest, storage: MediaStorage, name: str, *, content_type: str, sha256: str, filename: str
) -> HttpResponse | FileResponse:
    """The bytes under ``name``, shown in place and never guessed at; nothing if the browser has them.

    Raises:
        SourceMissing, StorageError: as the storage says.
    """
    etag = f'"{sha256}"'
    headers: dict[str, Any] = {
        # What people uploaded is data: no script in it may run, whatever a browser takes it for.
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-cache",
    }
    if sha256:
        headers["ETag"] = etag
        if etag in request.headers.get("If-None-Match", ""):
            return HttpResponseNotModified(headers=headers)
    stream = storage.fetch(name)
    return FileResponse(stream, filename=filename, content_type=content_type or None, headers=headers)

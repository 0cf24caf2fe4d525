"""Serve stored files over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotModified,
)
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag

from media_files.storage.base import MediaStorage, fetch_whole

_UNKNOWN: Final = "application/octet-stream"
_HEADERS: Final[Mapping[str, str]] = {
    # Uploads are data: scripts in them must never run, even if a browser misdetects the type.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-cache",
}
# Characters besides letters and digits that RFC 5987 allows unescaped.
_ATTR_CHARS: Final = "!#$&+-.^_`|~"


# Files up to this size are hashed before serving, in about 10 ms; larger ones are checked by size only.
HASHED_BYTES: Final = 8 * 1024**2


def file_response(
    request: HttpRequest,
    storage: MediaStorage,
    name: str,
    *,
    content_type: str,
    size: int | None,
    sha256: str,
    filename: str,
) -> HttpResponseBase:
    """Return a response with the file, to be shown inline without content sniffing, or 304 if it is cached.

    Args:
        request: answered with 304 if its condition matches.
        storage: where the file is stored.
        name: its name there.
        content_type: detected from the bytes; empty if unknown.
        size: the size recorded in its row; None if nothing is recorded.
        sha256: the recorded SHA-256; empty if nothing is recorded.
        filename: the name under which a browser saves it.

    Raises:
        SourceMissing, StorageError: errors of the storage.
        DamagedFile: the stored bytes differ from those recorded.
    """
    headers = dict(_HEADERS)
    if sha256:
        headers["ETag"] = quote_etag(sha256)
        if _is_cached(request, headers["ETag"]):
            return HttpResponseNotModified(headers=headers)
    response = FileResponse(
        fetch_whole(storage, name, size=size, sha256=sha256 if (size or 0) <= HASHED_BYTES else ""),
        # Detected from the bytes. Without it, Django would guess from the name's extension.
        content_type=content_type or _UNKNOWN,
        headers=headers | {"Content-Disposition": inline(filename or name.rpartition("/")[2])},
    )
    if request.method == "HEAD":
        response.close()
        response.streaming_content = ()
    return response


def bytes_response(request: HttpRequest, data: bytes, *, content_type: str, version: str) -> HttpResponseBase:
    """Return a response with a row's bytes, with the headers of a file; ``version`` names the bytes."""
    headers = {**_HEADERS, "ETag": quote_etag(version)}
    if _is_cached(request, headers["ETag"]):
        return HttpResponseNotModified(headers=headers)
    return HttpResponse(data, content_type=content_type, headers=headers)


def _is_cached(request: HttpRequest, etag: str) -> bool:
    return isinstance(get_conditional_response(request, etag=etag), HttpResponseNotModified)


def inline(filename: str) -> str:
    """Return a Content-Disposition to show a file inline and save it as ``filename`` (RFC 6266).

    It has an ASCII name for old programs, and the exact name if that differs (RFC 5987). Some browsers decode
    percent escapes within the quotes although they should not, so percent signs are replaced there.
    """
    plain = "".join(
        character if " " <= character <= "~" and character not in '"\\%' else "_" for character in filename
    )
    exact = "" if plain == filename else f"; filename*=UTF-8''{quote(filename, safe=_ATTR_CHARS)}"
    return f'inline; filename="{plain}"{exact}'

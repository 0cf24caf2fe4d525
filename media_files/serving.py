"""Sending a stored file to somebody who may see it."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from django.http import FileResponse, HttpRequest, HttpResponseBase, HttpResponseNotModified
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag

from media_files.storage import MediaStorage

_UNKNOWN: Final = "application/octet-stream"
# What RFC 5987 lets stand beside letters and digits.
_ATTR_CHARS: Final = "!#$&+-.^_`|~"


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
    response = FileResponse(
        storage.fetch(name),
        # By the bytes; without a word here Django would go by the name's extension.
        content_type=content_type or _UNKNOWN,
        headers=headers | {"Content-Disposition": inline(filename or name.rpartition("/")[2])},
    )
    if request.method == "HEAD":
        response.close()
        response.streaming_content = ()
    return response


def inline(filename: str) -> str:
    """To be shown in place, and saved under ``filename`` (RFC 6266): in ASCII for old programs, and where
    that is not all, as it is (RFC 5987).

    Browsers decode escapes within quotes, though none should be there: a percent sign is not left in them.
    """
    plain = "".join(
        character if " " <= character <= "~" and character not in '"\\%' else "_" for character in filename
    )
    exact = "" if plain == filename else f"; filename*=UTF-8''{quote(filename, safe=_ATTR_CHARS)}"
    return f'inline; filename="{plain}"{exact}'

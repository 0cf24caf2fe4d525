"""Sending a stored file to somebody who may see it."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from django.http import FileResponse, HttpRequest, HttpResponseBase, HttpResponseNotModified
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag

from media_files.storage.base import MediaStorage, fetch_whole

_UNKNOWN: Final = "application/octet-stream"
# What RFC 5987 lets stand beside letters and digits.
_ATTR_CHARS: Final = "!#$&+-.^_`|~"


# A file up to this size is hashed before it is served, in some 10 ms; of a larger one the size is compared.
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
    """Return the bytes under ``name``, shown in place and never guessed at; none if the browser has them.

    Args:
        request: answered with 304 where its condition says so.
        storage: where the file is stored.
        name: its name there.
        content_type: by the bytes; empty where it is not known.
        size: the bytes that its row records; None where nothing is recorded.
        sha256: their SHA-256; empty where nothing is recorded.
        filename: under which a browser saves it.

    Raises:
        SourceMissing, StorageError: as the storage says.
        DamagedFile: the stored bytes are not those recorded.
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
        fetch_whole(storage, name, size=size, sha256=sha256 if (size or 0) <= HASHED_BYTES else ""),
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

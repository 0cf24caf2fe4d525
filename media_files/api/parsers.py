"""Request parsers, and limits on the size of a body."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import IO, Any, Final, cast

from django.conf import settings
from django.http import QueryDict
from django.http.multipartparser import MultiPartParser as FormReader
from django.http.multipartparser import MultiPartParserError
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser, DataAndFiles, MultiPartParser

from media_files.conf import limits
from media_files.errors import FileTooLarge
from media_files.names import readable_name

# Bodies other than uploads are held in memory. The largest valid one, 100,000 ids, takes 2 MB.
MAX_BODY_BYTES: Final = 4 * 1024 * 1024
# A generous allowance for the headers and boundaries of a multipart upload.
_FORM_BYTES: Final = 65_536


def refuse_too_long(length: object, *, upload: bool) -> None:
    """Check a body's Content-Length before reading any of it.

    Raises:
        FileTooLarge: the body is longer than allowed here.
    """
    announced = int(length) if isinstance(length, str) and length.isdecimal() else 0
    most = limits().max_bytes if upload else MAX_BODY_BYTES
    if announced <= most + (_FORM_BYTES if upload else 0):
        return
    if upload:
        raise FileTooLarge(
            f"The upload has {announced:,} bytes; {most:,} are allowed. Send a smaller file, or have "
            "NOVAPROXY_MAX_UPLOAD raised."
        )
    raise FileTooLarge(f"The body has {announced:,} bytes; {most:,} are allowed. Ask in several requests.")


class BodyParser(BaseParser, ABC):
    """Parser for a body of limited length, read into memory as a whole."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        request = (parser_context or {}).get("request")
        if request is not None:
            refuse_too_long(request.META.get("CONTENT_LENGTH"), upload=False)
        body = stream.read()
        try:
            text = body if isinstance(body, str) else body.decode()
        except UnicodeDecodeError as error:
            raise ParseError(f"The body is not UTF-8: {error.reason} at byte {error.start}.") from error
        return self.read(text.strip())

    @abstractmethod
    def read(self, text: str) -> Any:
        """Parse the text of a body."""


class JSONParser(BodyParser):
    """Parse a JSON object."""

    media_type = "application/json"

    def read(self, text: str) -> Any:
        return _json_object(text) if text else {}


class JSONInFormParser(BodyParser):
    """Parse a form, or a JSON object labelled as a form, which is what ``curl -d '{...}'`` sends."""

    media_type = "application/x-www-form-urlencoded"

    def read(self, text: str) -> Any:
        if not text:
            return {}
        if text[0] in "{[":
            return _json_object(text)
        if "=" not in text:
            raise ParseError(
                'The body is neither a JSON object, as {"force": true}, nor a form, as force=true.'
            )
        return QueryDict(text)


class _KeepNames(FormReader):
    """Keep the characters of file names that Django's form parser would strip."""

    def sanitize_file_name(self, file_name: str) -> str | None:
        name = readable_name(file_name)
        return name if name not in ("", ".", "..") else None


class UploadParser(MultiPartParser):
    """Parse a multipart form and keep the file names as sent."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> DataAndFiles[Any, Any]:
        context = parser_context or {}
        request = context["request"]
        meta = request.META | {"CONTENT_TYPE": media_type}
        encoding = context.get("encoding", settings.DEFAULT_CHARSET)
        try:
            form = _KeepNames(meta, cast(Any, stream), request.upload_handlers, encoding)
            return DataAndFiles(*form.parse())
        except MultiPartParserError as error:
            raise ParseError(f"The multipart body cannot be read: {error}.") from error


def _json_object(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ParseError(f"The body is no JSON that can be read: {error}.") from error
    if not isinstance(data, dict):
        raise ParseError('The body must be a JSON object, as {"force": true}.')
    return data


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no value of JSON")

"""What a request's body may look like."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

from django.http import QueryDict
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser


class JSONInFormParser(BaseParser):
    """A form, or a JSON object that calls itself one: what ``curl -d '{...}'`` sends."""

    media_type = "application/x-www-form-urlencoded"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        body = stream.read()
        try:
            text = (body if isinstance(body, str) else body.decode()).strip()
        except UnicodeDecodeError as error:
            raise ParseError(f"The body is not UTF-8: {error.reason} at byte {error.start}.") from error
        if not text:
            return {}
        if text[0] in "{[":
            return _json_object(text)
        if "=" not in text:
            raise ParseError(
                'The body is neither a JSON object, as {"force": true}, nor a form, as force=true.'
            )
        return QueryDict(text)


def _json_object(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ParseError(f"The body looks like JSON and is not: {error}.") from error
    if not isinstance(data, dict):
        raise ParseError('The body must be a JSON object, as {"force": true}.')
    return data

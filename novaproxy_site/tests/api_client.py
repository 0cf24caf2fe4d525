"""A test client that validates each response against the API's schema."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from drf_spectacular.generators import SchemaGenerator
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

EVERY_PERMISSION = (
    "media_files.view_mediafile",
    "media_files.add_mediafile",
    "media_files.delete_mediafile",
    "proxies.add_proxy",
    "proxies.delete_proxy",
    "proxies.view_batch",
    "proxies.change_batch",
)
FORM = "application/x-www-form-urlencoded"


@cache
def schema() -> dict[str, Any]:
    """Return the API's schema with closed objects, so that an undocumented field is an error."""
    described: dict[str, Any] = _closed(deepcopy(SchemaGenerator().get_schema(request=None, public=True)))
    return described


def _closed(node: Any) -> Any:
    if isinstance(node, list):
        return [_closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    node = {key: _closed(value) for key, value in node.items()}
    if "properties" in node and node.get("type") == "object":
        node.setdefault("additionalProperties", False)
    if node.pop("nullable", False):
        return {"anyOf": [node, {"type": "null"}]}
    return node


def assert_as_described(method: str, path: str, response: Any) -> None:
    """Assert that the schema describes the response's status, and that the body matches it."""
    operation = _operation(method, urlsplit(path).path.rstrip("/"))
    if operation is None:
        return
    assert str(response.status_code) in operation["responses"], f"{response.status_code} is not described"
    if not response.headers.get("Content-Type", "").startswith("application/json"):
        return
    content = operation["responses"][str(response.status_code)].get("content", {})
    if "application/json" not in content:
        return
    described = content["application/json"]["schema"] | {"components": schema()["components"]}
    faults = [
        f"{error.json_path}: {error.message}"
        for error in Draft202012Validator(described).iter_errors(json.loads(response.content))
    ]
    assert faults == [], faults


def _operation(method: str, path: str) -> dict[str, Any] | None:
    for template, operations in sorted(schema()["paths"].items(), key=lambda item: "{" in item[0]):
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            found: dict[str, Any] | None = operations.get(method.lower())
            return found
    return None


class Api(APIClient):
    """Sends requests with its user's token."""

    def generic(self, method: str, path: Any, *args: Any, **kwargs: Any) -> Any:
        response: Any = super().generic(method, path, *args, **kwargs)
        if response.streaming:
            # Read it completely, which closes the file, and let the test read it again.
            response.streaming_content = [b"".join(response.streaming_content)]
        assert_as_described(method, path, response)
        return response

    def send(self, path: str, body: Any = None, **headers: Any) -> Any:
        """POST a JSON body."""
        return self.post(path, {} if body is None else body, format="json", **headers)

    def send_as(self, content_type: str, path: str, body: str | bytes, **headers: Any) -> Any:
        """POST a raw body."""
        return self.generic("POST", path, body, content_type, **headers)

    def upload(self, data: bytes, name: str = "picture.jpg") -> Any:
        """POST a file to /api/files."""
        return self.post("/api/files", {"file": SimpleUploadedFile(name, data)}, format="multipart")


def api_with(*permissions: str, name: str = "caller") -> Api:
    """Return a client of a new user with exactly these permissions."""
    user = get_user_model().objects.create_user(name)
    for permission in permissions:
        app, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    api = Api()
    api.credentials(HTTP_AUTHORIZATION=f"Token {Token.objects.create(user=user).key}")
    return api

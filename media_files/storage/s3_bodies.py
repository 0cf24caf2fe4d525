"""How bodies of S3 requests are sent, and how to detect whether a server stored them correctly."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, BinaryIO, Final

from botocore.config import Config
from django.conf import settings

from media_files.storage.base import byte_chunks

# By default botocore sends checksums after the body, which over https uses the "aws-chunked" encoding.
# Servers that do not support that encoding store it as part of the object.
PLAIN_BODIES: Final = Config(
    request_checksum_calculation="when_required", response_checksum_validation="when_required"
)
_MD5: Final = re.compile(r"[0-9a-f]{32}")


def md5_of(body: bytes | BinaryIO) -> str:
    """Return the MD5 of `body` in hexadecimal, and rewind a stream."""
    digest = hashlib.md5(usedforsecurity=False)
    for chunk in byte_chunks(body):
        digest.update(chunk)
    if not isinstance(body, bytes):
        body.seek(0)
    return digest.hexdigest()


def is_md5(etag: str) -> bool:
    """Return whether an ETag has the form of an MD5."""
    return _MD5.fullmatch(etag) is not None


def is_encrypted(answer: Mapping[str, Any]) -> bool:
    """Return whether the response to a write indicates that its ETag is not an MD5.

    The ETag of a single PUT is the MD5 of its body, unless it is encrypted with a KMS or customer key.
    Source: Amazon S3 API reference, "Object".
    """
    return "SSECustomerAlgorithm" in answer or answer.get("ServerSideEncryption", "AES256") != "AES256"


def endpoint_setting(bucket: str, prefix: str) -> str:
    """Return the setting that defines the endpoint of the storage with this bucket and prefix."""
    variables = [
        f"NOVAPROXY_{alias.upper()}_ENDPOINT"
        for alias, storage in settings.STORAGES.items()
        if alias != "default" and _place(storage.get("OPTIONS", {})) == (bucket, prefix)
    ]
    return f"endpoint_url ({' and '.join(variables)})" if variables else "the storage's endpoint_url"


def _place(options: Mapping[str, Any]) -> tuple[str | None, str]:
    return options.get("bucket_name"), (options.get("location") or "").strip("/")

"""Read a file's facts and its fingerprint in one pass over its bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from django.core.files.base import File

from media_files.errors import NotAnImage
from media_files.imaging.inspection import CONTENT_TYPES, ImageFacts, Limits, inspect

_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Everything a row stores about a file's bytes.

    Attributes:
        file_type: ``image`` or ``video``.
        format: Pillow's name of an image's format, or the container of a video.
        content_type: MIME type, detected from the bytes.
        bytes: size in bytes.
        sha256: SHA-256 of the bytes, in hexadecimal.
        image: the facts from an image's header; None for a video.
    """

    file_type: str
    format: str
    content_type: str
    bytes: int
    sha256: str
    image: ImageFacts | None


def measure(stream: BinaryIO | File[Any]) -> tuple[str, int]:
    """Return the SHA-256 (hexadecimal) and the number of bytes from the current position to the end."""
    digest, size = hashlib.sha256(), 0
    while block := stream.read(_BLOCK):
        digest.update(block)
        size += len(block)
    return digest.hexdigest(), size


def read_facts(stream: BinaryIO, limits: Limits) -> FileFacts:
    """Read the header and hash the bytes of a seekable ``stream``, then rewind it.

    The header is checked first, so that a hostile file costs no more than reading its header.

    Raises:
        MediaError: one of the named errors, if the file is neither an allowed image nor a video.
    """
    image: ImageFacts | None
    try:
        image = inspect(stream, limits)
    except NotAnImage as video:
        image, file_type, format_, content_type = None, "video", video.format, video.content_type
    else:
        file_type, format_, content_type = "image", image.format, CONTENT_TYPES[image.format]
    stream.seek(0)
    sha256, size = measure(stream)
    stream.seek(0)
    return FileFacts(file_type, format_, content_type, size, sha256, image)

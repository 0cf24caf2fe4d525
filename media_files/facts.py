"""What is read of a file as it goes by: its facts and its fingerprint, in one pass over the bytes."""

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
    """Everything a row keeps of a file's bytes.

    Attributes:
        file_type: ``image`` or ``video``.
        format: Pillow's name of an image's format, or the container of a video.
        content_type: MIME type, by the bytes.
        bytes: how many.
        sha256: their SHA-256, in hexadecimal.
        image: the facts of an image's header; None for a video.
    """

    file_type: str
    format: str
    content_type: str
    bytes: int
    sha256: str
    image: ImageFacts | None


def measure(stream: BinaryIO | File[Any]) -> tuple[str, int]:
    """The SHA-256 (hexadecimal) and the number of the bytes from here to the end."""
    digest, size = hashlib.sha256(), 0
    while block := stream.read(_BLOCK):
        digest.update(block)
        size += len(block)
    return digest.hexdigest(), size


def read_facts(stream: BinaryIO, limits: Limits) -> FileFacts:
    """Read the header and hash the bytes of a seekable ``stream``; it is left at its beginning.

    The header is judged first, so that a hostile file costs no more than its header.

    Raises:
        MediaError: one of the named errors, for what is neither an allowed image nor a video.
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

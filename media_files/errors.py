"""The family of named errors that a file can meet on its way to a proxy.

One class for each code of the contract. Every door shows ``code`` and the message as they are, so
a message says what was found, what is allowed, and what to do next.
"""

from __future__ import annotations

from typing import ClassVar


class MediaError(Exception):
    """Something is wrong with a file, or with the place it lies in.

    Attributes:
        code: the short word that every door uses for this error.
        http_status: the status with which the REST API answers.
        transient: true where the same call may well succeed later, so that it is worth a retry
            and is not held against the file.
    """

    code: ClassVar[str]
    http_status: ClassVar[int] = 422
    transient: ClassVar[bool] = False


class EmptyFile(MediaError):
    """The file holds no bytes."""

    code = "empty"


class UnsupportedFormat(MediaError):
    """The bytes are of a format, or of a variant of one, that cannot be read here."""

    code = "unsupported_format"


class CorruptImage(MediaError):
    """The bytes begin like an allowed format but cannot be decoded to the whole picture."""

    code = "corrupt"


class ImageTooLarge(MediaError):
    """More pixels, longer sides or more frames than the limits allow."""

    code = "too_large"


class FileTooLarge(MediaError):
    """More bytes than the limits allow."""

    code = "file_too_large"
    http_status = 413


class NotAnImage(MediaError):
    """A video where an image is asked for.

    Attributes:
        format: the video format's short name, such as ``MP4``.
        content_type: its media type, such as ``video/mp4``.
    """

    code = "not_an_image"

    def __init__(self, message: str, *, format: str = "", content_type: str = "") -> None:
        super().__init__(message)
        self.format = format
        self.content_type = content_type


class MemoryLimit(MediaError):
    """Decoding asked for more memory than a worker may use."""

    code = "memory"


class SourceMissing(MediaError):
    """The row is there, its file is not (or the row itself has been deleted)."""

    code = "source_missing"


class StorageError(MediaError):
    """The storage did not answer, or answered with a fault of its own."""

    code = "storage"
    http_status = 503
    transient = True


class Quarantined(MediaError):
    """The file has ended its process several times and is left alone until a person decides."""

    code = "quarantined"

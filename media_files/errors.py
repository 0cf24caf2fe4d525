"""The family of named errors that a file can meet on its way to a proxy.

One class for each code of the contract. Every door shows ``code`` and the message as they are, so
a message says what was found, what is allowed, and what to do next.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

LONGEST_MESSAGE: Final = 2000
# Decoders and services quote bytes of the file. PostgreSQL keeps neither NUL nor half surrogates, and no
# page or terminal should see the rest.
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def _storable(message: str) -> str:
    """Return a message that any database, page and terminal can take."""
    clean = _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", message)
    return clean if len(clean) <= LONGEST_MESSAGE else f"{clean[: LONGEST_MESSAGE - 1]}…"


class MediaError(Exception):
    """Something is wrong with a file, or with the place it lies in.

    Attributes:
        code: the short word that every door uses for this error.
        http_status: the status with which the REST API answers.
        transient: true where the same call may well succeed later, so that it is worth a retry
            and is not held against the file.
        most_tries: how often a batch tries a file that fails with a transient error. With delays of 2, 4,
            8 ... s up to ten minutes, thirty tries span four hours of outage.
        blames_file: true where the file's own bytes are the cause, so that it says nothing of other files.
        is_setup: true where every file meets the same until a person changes something.
    """

    code: ClassVar[str]
    http_status: ClassVar[int] = 422
    transient: ClassVar[bool] = False
    most_tries: ClassVar[int] = 30
    blames_file: ClassVar[bool] = False
    is_setup: ClassVar[bool] = False

    def __init__(self, message: str = "") -> None:
        super().__init__(_storable(message))


class EmptyFile(MediaError):
    """The file holds no bytes."""

    code = "empty"
    blames_file = True


class UnsupportedFormat(MediaError):
    """The bytes are of a format, or of a variant of one, that cannot be read here."""

    code = "unsupported_format"
    blames_file = True


class CorruptImage(MediaError):
    """The bytes begin like an allowed format but cannot be decoded to the whole picture."""

    code = "corrupt"
    blames_file = True


class ImageTooLarge(MediaError):
    """More pixels, longer sides or more frames than the limits allow."""

    code = "too_large"
    blames_file = True


class FileTooLarge(MediaError):
    """More bytes than the limits allow."""

    code = "file_too_large"
    blames_file = True
    http_status = 413


class NotAnImage(MediaError):
    """A video where an image is asked for.

    Attributes:
        format: the video format's short name, such as ``MP4``.
        content_type: its media type, such as ``video/mp4``.
    """

    code = "not_an_image"
    blames_file = True

    def __init__(self, message: str, *, format: str = "", content_type: str = "") -> None:
        super().__init__(message)
        self.format = format
        self.content_type = content_type


class MemoryLimit(MediaError):
    """Decoding asked for more memory than a worker may use."""

    code = "memory"
    blames_file = True


class SourceMissing(MediaError):
    """The row is there, its file is not (or the row itself has been deleted)."""

    code = "source_missing"


class DamagedFile(SourceMissing):
    """Other bytes are stored under a file's name than those that its row records."""


class StorageError(MediaError):
    """The storage did not answer, or answered with a fault of its own."""

    code = "storage"
    http_status = 503
    transient = True


class StorageRefused(StorageError):
    """The credentials of a storage are wrong, have expired, or do not allow what is needed."""

    code = "access_denied"
    is_setup = True


class BucketMissing(StorageError):
    """The settings name a bucket that does not exist."""

    code = "not_configured"
    is_setup = True


class NoSpace(StorageError):
    """The disk or the quota behind a storage is full. Nothing is wrong with the file."""

    code = "no_space"


class MachineLimit(StorageError):
    """This process has no file descriptors, memory or processes left. Nothing is wrong with the file."""

    code = "machine_limit"


class Quarantined(MediaError):
    """The file has ended its process several times and is left alone until a person decides."""

    code = "quarantined"
    blames_file = True


class Unexpected(MediaError):
    """Work on a file ended in an exception that no rule foresees: a fault of the program, not of the file."""

    code = "unexpected"
    http_status = 500

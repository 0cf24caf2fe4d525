"""Named errors of processing a file.

One class for each error code of the API contract. Admin, API and commands show the code and the message
unchanged, so a message explains what was found, what is allowed, and what to do next.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

LONGEST_MESSAGE: Final = 2000
# Decoders and services quote bytes of the file. PostgreSQL stores neither NUL nor lone surrogates, and the
# other control characters should not reach pages or terminals.
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def _storable(message: str) -> str:
    """Return the message in a form that is safe for every database, page and terminal."""
    clean = _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", message)
    return clean if len(clean) <= LONGEST_MESSAGE else f"{clean[: LONGEST_MESSAGE - 1]}…"


class MediaError(Exception):
    """Something is wrong with a file or with its storage.

    Attributes:
        code: the short word for this error in the admin, the API and the commands.
        http_status: the status of the REST API's response.
        transient: true if the same call may succeed later, so that it is retried and does not count
            against the file.
        most_tries: how often a batch tries a file that fails with a transient error. With delays of 2, 4,
            8 ... s up to ten minutes, thirty tries span a four-hour outage.
        blames_file: true if the file's own bytes are the cause, so that other files are not affected.
        is_setup: true if every file fails the same way until a person changes something.
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
    """The file is empty."""

    code = "empty"
    blames_file = True


class UnsupportedFormat(MediaError):
    """The file's format, or its variant of a format, is not supported."""

    code = "unsupported_format"
    blames_file = True


class CorruptImage(MediaError):
    """The file starts like an allowed format but cannot be decoded completely."""

    code = "corrupt"
    blames_file = True


class ImageTooLarge(MediaError):
    """The image has more pixels, longer sides or more frames than the limits allow."""

    code = "too_large"
    blames_file = True


class FileTooLarge(MediaError):
    """The file has more bytes than the limits allow."""

    code = "file_too_large"
    blames_file = True
    http_status = 413


class NotAnImage(MediaError):
    """The file is a video where an image is required.

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
    """Decoding needed more memory than a worker may use."""

    code = "memory"
    blames_file = True


class SourceMissing(MediaError):
    """The row exists but its file does not (or the row itself has been deleted)."""

    code = "source_missing"


class DamagedFile(SourceMissing):
    """The stored bytes differ from those recorded in the file's row."""


class StorageError(MediaError):
    """The storage did not answer, or failed with an error."""

    code = "storage"
    http_status = 503
    transient = True


class StorageRefused(StorageError):
    """The storage credentials are wrong or expired, or lack a permission."""

    code = "access_denied"
    is_setup = True


class BucketMissing(StorageError):
    """The settings name a bucket that does not exist."""

    code = "not_configured"
    is_setup = True


class NoSpace(StorageError):
    """The storage's disk or quota is full. The file itself is fine."""

    code = "no_space"


class MachineLimit(StorageError):
    """This process has run out of file descriptors, memory or processes. The file itself is fine."""

    code = "machine_limit"


class Quarantined(MediaError):
    """The file has crashed its process several times and is skipped until a person decides."""

    code = "quarantined"
    blames_file = True


class Unexpected(MediaError):
    """Processing a file raised an unexpected exception: a bug in the program, not a fault of the file."""

    code = "unexpected"
    http_status = 500

"""Names: what a user called a file, and what is safe to call it in a storage."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath
from typing import Final

# Every file system in use takes names of 255 bytes; what follows the stem (ids, suffix, extension)
# needs far less than the rest.
MAX_STEM_BYTES: Final = 150
MAX_NAME_CHARACTERS: Final = 255

# Reserved by Windows or by shells and URLs, or separators somewhere.
_UNSAFE: Final = frozenset("<>:\"/\\|?*%#&{}$!`'@+=^~[];")


def readable_name(name: str) -> str:
    """The last part of ``name``, as a row can hold it: valid Unicode, no NUL, at most 255 characters.

    A name from a file system may carry bytes that are no valid text (as surrogates); they are shown
    as replacement characters.
    """
    text = name.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "")
    last = text.replace("\\", "/").rstrip("/").rpartition("/")[2]
    if len(last) <= MAX_NAME_CHARACTERS:
        return last
    suffix = PurePosixPath(last).suffix[:16]
    return last[: MAX_NAME_CHARACTERS - len(suffix)] + suffix


def safe_stem(name: str) -> str:
    """``name`` without folders and extension, safe as part of a file name or an S3 key.

    Letters of all scripts stay, as do spaces; control and direction characters, separators and
    leading or trailing dots go; what is longer than 150 bytes of UTF-8 is cut at a character.
    """
    stem = PurePosixPath(readable_name(name)).stem
    composed = unicodedata.normalize("NFC", stem)
    kept = "".join("_" if c in _UNSAFE else c for c in composed if not _is_unseen(c))
    cut = kept.strip(" .").encode()[:MAX_STEM_BYTES].decode(errors="ignore").rstrip(" .")
    return cut or "file"


def _is_unseen(character: str) -> bool:
    """Control, direction and format characters, what is not assigned, and separators of lines."""
    category = unicodedata.category(character)
    return category[0] == "C" or category in ("Zl", "Zp")

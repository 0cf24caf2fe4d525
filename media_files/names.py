"""File names: readable for users, and safe in a storage."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath
from typing import Final

# Every common file system allows names of 255 bytes; what follows the stem (ids, suffix, extension) needs
# far less than the remainder.
MAX_STEM_BYTES: Final = 150
MAX_NAME_CHARACTERS: Final = 255

# Reserved by Windows, shells or URLs, or separators on some system.
_UNSAFE: Final = frozenset("<>:\"/\\|?*%#&{}$!`'@+=^~[];")


def readable_name(name: str) -> str:
    """Return the last part of ``name`` in a form fit for a row: valid Unicode, no NUL, up to 255 characters.

    Names from a file system may contain invalid bytes (as surrogates); these become replacement characters.
    """
    text = name.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "")
    last = text.replace("\\", "/").rstrip("/").rpartition("/")[2]
    if len(last) <= MAX_NAME_CHARACTERS:
        return last
    suffix = PurePosixPath(last).suffix[:16]
    return last[: MAX_NAME_CHARACTERS - len(suffix)] + suffix


def safe_stem(name: str) -> str:
    """Return ``name`` without folders and extension, safe as part of a file name or an S3 key.

    Keeps letters of all scripts and spaces; removes control and direction characters, line separators, and
    leading or trailing dots; replaces reserved characters. Cuts at a character boundary after 150 bytes of
    UTF-8.
    """
    stem = PurePosixPath(readable_name(name)).stem
    composed = unicodedata.normalize("NFC", stem)
    kept = "".join("_" if c in _UNSAFE else c for c in composed if not _is_unseen(c))
    cut = kept.strip(" .").encode()[:MAX_STEM_BYTES].decode(errors="ignore").rstrip(" .")
    return cut or "file"


def _is_unseen(character: str) -> bool:
    """Return whether the character is control, direction, format, unassigned, or a line separator."""
    category = unicodedata.category(character)
    return category[0] == "C" or category in ("Zl", "Zp")

"""The limits of a text that somebody types to search or to filter by."""

from __future__ import annotations

import re
from typing import Final

from django.utils.translation import gettext as _

from media_files.localised import number

MAX_CHARACTERS: Final = 200
MAX_WORDS: Final = 20
"""Each word is a condition on every row that is searched."""

_WORD: Final = re.compile(r"\w+")


def text_fault(text: str) -> str:
    """Return what is wrong with a text that is too long; empty if nothing is."""
    if len(text) > MAX_CHARACTERS:
        return _("It has %(count)s characters; %(most)s are allowed. Give a shorter text.") % {
            "count": number(len(text)),
            "most": number(MAX_CHARACTERS),
        }
    words = len(_WORD.findall(text))
    if words > MAX_WORDS:
        return _("It has %(count)s words; %(most)s are allowed. Give fewer.") % {
            "count": number(words),
            "most": number(MAX_WORDS),
        }
    return ""

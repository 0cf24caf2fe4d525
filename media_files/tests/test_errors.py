"""Error messages are safe for database and terminal, even if a decoder or service quotes arbitrary bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_files.errors import LONGEST_MESSAGE, CorruptImage, NotAnImage

PRINTABLE = "found 3 parts: „größer“, 日本\n\tnext line"


@given(st.text(st.characters(), max_size=3000))
def test_any_message_can_be_stored_and_shown(message):
    for kind in (CorruptImage, NotAnImage):
        kept = str(kind(message))
        kept.encode()
        assert "\0" not in kept
        assert "\x1b" not in kept
        assert len(kept) <= LONGEST_MESSAGE


def test_a_plain_message_is_unchanged():
    assert str(CorruptImage(PRINTABLE)) == PRINTABLE


@pytest.mark.parametrize("quoted", ["\0", "\ud800", "\x1b[31m", "\x9b"])
def test_control_characters_are_replaced(quoted):
    assert str(CorruptImage(f"odd {quoted} bytes")).startswith("odd \N{REPLACEMENT CHARACTER}")

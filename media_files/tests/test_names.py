"""Names: the stored name is always safe, for any file name a user chose."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from media_files.names import readable_name, safe_stem

ANY_NAME = st.one_of(
    st.text(st.characters(codec=None), max_size=400),
    st.text("./\\ \0\n\u202e\u200bé日🏔", max_size=40),
    st.binary(max_size=300).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
)


@given(ANY_NAME)
@example("\ud800.jpg")
@example("\udce9.jpg")
@example("a\u2028b.jpg")
@example("é" * 500 + ".jpeg")
def test_a_readable_name_fits_a_row(name):
    shown = readable_name(name)
    assert len(shown) <= 255
    shown.encode()
    assert "\0" not in shown
    assert "/" not in shown
    assert "\\" not in shown
    assert readable_name(shown) == shown


@given(ANY_NAME)
@example("")
@example("..")
@example("a\u2028b.jpg")
@example("\u202egpj.exe")
@example("a" * 149 + "🏔.jpg")
@example("\ud800")
def test_a_safe_stem_is_safe(name):
    stem = safe_stem(name)
    assert 1 <= len(stem.encode()) <= 150
    assert not set(stem) & set("<>:\"/\\|?*%#&{}$!`'@+=^~[];\0")
    assert not {unicodedata.category(character) for character in stem} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert stem == stem.strip(" .")
    assert stem == unicodedata.normalize("NFC", stem)
    assert safe_stem(stem + ".jpg") == stem, "making it safe again changes nothing"


STEMS = {
    "plain": ("IMG_0001.JPG", "IMG_0001"),
    "two dots": ("a.b.jpg", "a.b"),
    "unicode": ("Übung 日本.jpg", "Übung 日本"),
    "decomposed": ("Ku\u0308ste.jpg", "Küste"),
    "path": ("../../etc/passwd", "passwd"),
    "Windows path": ("C:\\photos\\a.jpg", "a"),
    "leading dots": ("...hidden.jpg", "hidden"),
    "nothing but dots": ("...", "file"),
    "nothing": ("", "file"),
    "extension alone": (".jpg", "jpg"),
    "right-to-left mark": ("a\u202eb.jpg", "ab"),
    "control characters": ("a\r\nb\x1b.jpg", "ab"),
    "for shells and URLs": ("a&b;c?d#e%20.jpg", "a_b_c_d_e_20"),
    "too long": ("x" * 300 + ".jpg", "x" * 150),
    "too long, cut at a character": ("é" * 100 + ".jpg", "é" * 75),
}


@pytest.mark.parametrize("case", STEMS)
def test_stems(case):
    name, stem = STEMS[case]
    assert safe_stem(name) == stem


READABLE = {
    "kept as it is": ("Küste \u202e.jpg", "Küste \u202e.jpg"),
    "no valid UTF-8": (b"caf\xe9.jpg".decode("utf-8", "surrogateescape"), "caf\ufffd.jpg"),
    "half a character": ("\ud83c.jpg", "\ufffd.jpg"),
    "NUL": ("a\0.jpg", "a.jpg"),
    "last part of a path": ("a/b/c.jpg", "c.jpg"),
    "folder": ("a/b/", "b"),
    "too long keeps its extension": ("x" * 300 + ".jpeg", "x" * 250 + ".jpeg"),
}


@pytest.mark.parametrize("case", READABLE)
def test_readable_names(case):
    name, shown = READABLE[case]
    assert readable_name(name) == shown

"""Hostile text is shown, and never acts."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2u_cli.escape import defuse, escape

HOSTILE = {
    "colour": ("a\x1b[31mb", r"a\x1b[31mb"),
    "title": ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
    "8-bit CSI": ("\x9b31m", r"\x9b31m"),
    "line feed": ("a\nerror: b", r"a\nerror: b"),
    "return": ("good\rbad", r"good\rbad"),
    "tab": ("a\tb", r"a\tb"),
    "backspace": ("a\bb", r"a\x08b"),
    "delete": ("a\x7fb", r"a\x7fb"),
    "null": ("a\0b", r"a\x00b"),
    "override": ("a\u202efdp.exe", r"a\u202efdp.exe"),
    "isolate": ("\u2066a\u2069", r"\u2066a\u2069"),
    "mark": ("\u200fa\u061c", r"\u200fa\u061c"),
    "zero width": ("a\u200bb\ufeffc", r"a\u200bb\ufeffc"),
    "line separator": ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
    "wide space": ("a\u3000b\u00a0c", r"a\u3000b\xa0c"),
    "soft hyphen": ("a\u00adb", r"a\xadb"),
    "tag": ("a\U000e0041", r"a\U000e0041"),
    "surrogate": ("a\udcff", r"a\udcff"),
    "combining first": ("\u0301abc", r"\u0301abc"),
    "backslash": ("a\\nb", r"a\\nb"),
}


@pytest.mark.parametrize(("raw", "shown"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_shown_as_an_escape(raw, shown):
    assert escape(raw) == shown


@pytest.mark.parametrize(
    "text", ["model.layer.0", "a b", "größe", "重み", "नमस्ते", "[red]x[/red]", "😀", ""]
)
def test_ordinary_text_stays(text):
    assert escape(text) == text


@given(st.text())
def test_what_is_shown_is_one_line_of_plain_glyphs(text):
    for char in escape(text):
        assert char == " " or unicodedata.category(char)[0] not in "CZ", f"{char!r} came through"


@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
def test_different_names_look_different(one, other):
    assert (escape(one) == escape(other)) == (one == other)


def test_names_that_imitate_an_escape_look_different():
    assert escape("a\\x1b") != escape("a\x1b")


def test_a_sentence_keeps_its_backslashes_and_what_it_is_told_to_keep():
    assert defuse("no tensor 'a\\n'") == "no tensor 'a\\n'"
    assert defuse("one\ntwo\x1b", keep="\n") == "one\ntwo\\x1b"

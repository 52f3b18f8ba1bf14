r"""Make text from files safe to show on a terminal.

A tensor name, a metadata value or a path may hold anything: an escape sequence that retitles the
window, a line feed that forges a line of output, a bidirectional override that shows one name as
another. Nothing of that may act, so every such character is shown as an escape of its own.

Two strengths are offered. `escape` is for raw names and is unambiguous: a backslash is doubled,
so that the name ``a\n`` (three characters) and a name with a real line feed look different.
`defuse` is for sentences in which names were quoted already, and leaves backslashes alone.

JSON needs neither: `p2u_cli.output` writes it in printable ASCII.
"""

import unicodedata

NAMED = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}

# Unicode general categories that never draw a plain glyph of their own: controls (C0, C1, DEL),
# formats (bidirectional controls, zero-width characters, tags), lone surrogates, private use,
# unassigned, and the line and paragraph separators.
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

# Marks that are drawn over the character before them. At the very start of a text that would be
# a character of ours, in the middle they are ordinary writing in many languages.
MARKS = frozenset({"Mn", "Me", "Mc"})


def escape(text: str) -> str:
    r"""Return `text` with everything that could act on a terminal shown as an escape.

    Parameters
    ----------
    text : str
        Raw text from a file, an argument or the file system.

    Returns
    -------
    str
        Printable text on one line; different texts stay different.

    Examples
    --------
    >>> print(escape("layer.0\x1b[31m"))
    layer.0\x1b[31m
    >>> print(escape("a\\n"), escape("a\n"))
    a\\n a\n
    """
    return defuse(text.replace("\\", "\\\\"))


def defuse(text: str, *, keep: str = "") -> str:
    r"""Return `text` with everything that could act shown as an escape, backslashes left alone.

    Parameters
    ----------
    text : str
        A sentence that may quote hostile text.
    keep : str, optional
        Characters that stay although they act, such as a line feed in a traceback.

    Returns
    -------
    str
        Printable text.

    Examples
    --------
    >>> print(defuse("no tensor '\u202egnp.exe'"))
    no tensor '\u202egnp.exe'
    """
    shown = "".join(char if char in keep else _show(char) for char in text)
    if shown and unicodedata.category(shown[0]) in MARKS:
        return _numbered(shown[0]) + shown[1:]
    return shown


def _show(char: str) -> str:
    category = unicodedata.category(char)
    if category in HIDDEN or (category == "Zs" and char != " "):
        return NAMED.get(char) or _numbered(char)
    return char


def _numbered(char: str) -> str:
    number = ord(char)
    if number <= 0xFF:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"

"""Texts of strangers as they may be shown: on one line, and with nothing in them that a terminal obeys."""

from __future__ import annotations

import unicodedata
from typing import Final

_HARMFUL: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Control characters, what changes the direction of writing or cannot be seen, half characters, and ends of lines and paragraphs."""


def one_line(text: str) -> str:
    """Return the text on one line, with what a terminal may obey as escapes; ends of lines and tabs become spaces."""
    if text.isprintable():
        return text
    return "".join(_escaped(char) if unicodedata.category(char) in _HARMFUL else char for char in text)


def harmless(text: str) -> str:
    """As `one_line`, but for ends of lines and tabs, which stay."""
    if text.isprintable():
        return text
    return "".join(
        _escaped(char) if char not in "\t\n" and unicodedata.category(char) in _HARMFUL else char for char in text
    )


def cut(text: str, most_chars: int) -> str:
    """Return at most so many characters of a text, and how many there were if not all are left."""
    return text if len(text) <= most_chars else f"{text[:most_chars]}... ({len(text)} characters)"


def _escaped(char: str) -> str:
    return " " if char in "\t\n" else char.encode("unicode_escape").decode("ascii")

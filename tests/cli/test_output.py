"""How things are written."""

from __future__ import annotations

import pytest

from celeriac.cli.output import age, clean, counted


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"), (-1.0, "0.0 s"), (0.44, "0.4 s"), (12.9, "12 s"), (60.0, "1 m 0 s"), (190.0, "3 m 10 s"),
        (18_120.0, "5 h 2 m"), (187_200.0, "2 d 4 h"),
    ],
)  # fmt: skip
def test_age(seconds: float | None, text: str) -> None:
    assert age(seconds) == text


def test_what_a_terminal_would_obey_is_made_harmless() -> None:
    assert clean("a\x1b[31mred\x07 \u202eevil\u2028x") == "a\\x1b[31mred\\x07 \\u202eevil\\u2028x"
    assert clean("tabs\tand\nlines") == "tabs and lines"
    assert clean("größer, 日本") == "größer, 日本"


def test_counted() -> None:
    assert [counted(number, "message") for number in (0, 1, 2)] == ["0 messages", "1 message", "2 messages"]

"""Names as they stand in Redis: ours are texts in UTF-8, and whatever else somebody has put beside them is no name."""

from __future__ import annotations

from collections.abc import Iterable


def readable(names: Iterable[bytes]) -> list[str]:
    """Return the names that are texts, in their order."""
    return divide(names)[0]


def divide(names: Iterable[bytes]) -> tuple[list[str], list[bytes]]:
    """Return the names that are texts, and whatever is none."""
    texts: list[str] = []
    others: list[bytes] = []
    for name in names:
        try:
            texts.append(name.decode())
        except UnicodeDecodeError:
            others.append(name)
    return texts, others

"""Identifiers that sort by their time of birth."""

from __future__ import annotations


def uuid7(now: float, randomness: bytes) -> str:
    """Return a version 7 UUID for the Unix time `now` (seconds) and 10 random bytes, as text.  Source: RFC 9562, 5.7."""
    milliseconds = int(now * 1000) & 0xFFFF_FFFF_FFFF
    bits = (milliseconds << 80) | int.from_bytes(randomness, "big") & ((1 << 80) - 1)
    bits = bits & ~(0xF << 76) | (0x7 << 76)
    bits = bits & ~(0x3 << 62) | (0x2 << 62)
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def born_at(identifier: str) -> float | None:
    """Return the Unix time (seconds) in a version 7 UUID, None for any other text."""
    if len(identifier) != 36 or identifier[14] != "7":
        return None
    try:
        return int(identifier[:8] + identifier[9:13], 16) / 1000
    except ValueError:
        return None

"""Broker and backend URLs, without their secrets."""

from __future__ import annotations

import re
from typing import Final

_SECRET: Final = re.compile(r"(?P<head>[a-z][a-z0-9+.\-]*://[^/@:\s]*:)[^@/\s]*(?=@)", re.IGNORECASE)


def mask(text: str) -> str:
    """Replace the password of every URL in `text` by stars."""
    return _SECRET.sub(r"\g<head>**", text)


def scheme(url: str) -> str:
    """Return the part of a URL before `://`, in lower case; empty when there is none."""
    head, found, _ = url.partition("://")
    return head.lower() if found else ""

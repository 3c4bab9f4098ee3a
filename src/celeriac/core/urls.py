"""Broker and backend URLs, without their secrets."""

from __future__ import annotations

import re
from typing import Final

_WORD: Final = re.compile(r"\S+")
_NEXT_OF_LIST: Final = re.compile(r"([,;])(?=[a-z][a-z0-9+.\-]{0,30}://)", re.IGNORECASE)
_PARAMETER: Final = re.compile(
    r"(?P<head>[?&][\w.\-]{0,30}(?:passw|secret|token|credential)[\w.\-]{0,30}=)[^&\s]*", re.IGNORECASE
)


def mask(text: str) -> str:
    """Replace the password of every URL in `text` by stars, also where a parameter of the URL says it; takes linear time."""
    if "://" not in text:
        return text
    return _WORD.sub(lambda word: "".join(map(_masked, _NEXT_OF_LIST.split(word[0]))), text)


def _masked(url: str) -> str:
    head, found, rest = url.partition("://")
    if not found:
        return url
    # Up to the last @, because a user or password may hold @ and /, if only by mistake.
    login, _, place = rest.rpartition("@")
    user, colon, _password = login.partition(":")
    masked = f"{head}://{user}:**@{place}" if colon else url
    return _PARAMETER.sub(r"\g<head>**", masked)


def scheme(url: str) -> str:
    """Return the part of a URL before `://`, in lower case; empty when there is none."""
    head, found, _ = url.partition("://")
    return head.lower() if found else ""

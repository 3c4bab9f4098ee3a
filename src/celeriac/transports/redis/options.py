"""Celery's transport options, as far as they say something about keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celeriac.exceptions import ImproperlyConfigured


def text_option(options: Mapping[str, Any], name: str, default: str) -> str:
    """Return an option that is a text. Raises `ImproperlyConfigured` for anything else."""
    value = options.get(name, default)
    if not isinstance(value, str):
        raise ImproperlyConfigured(f"transport option {name!r} = {value!r}: a text is wanted")
    return value


def flag_option(options: Mapping[str, Any], name: str, default: bool) -> bool:
    """Return an option that is true or false. Raises `ImproperlyConfigured` for anything else."""
    value = options.get(name, default)
    if not isinstance(value, bool):
        raise ImproperlyConfigured(f"transport option {name!r} = {value!r}: True or False is wanted")
    return value

"""Settings as text, and settings found by a part of their name."""

from __future__ import annotations

import pprint
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from celeriac.core.celery_defaults import CELERY_DEFAULTS
from celeriac.core.setting_names import unknown_names
from celeriac.core.setting_secrets import censor
from celeriac.core.setting_values import type_text
from celeriac.core.settings import KNOWN_NAMES, SETTING_NAMES, Settings

_WIDTH: Final = 50


class OptionType(NamedTuple):
    """What a setting may be."""

    default: Any
    type: str
    """In words, with unit and range."""


class Option(NamedTuple):
    """A setting that was looked for."""

    namespace: str | None
    """Its family, without the underscore."""
    key: str
    type: OptionType


def find_option(name: str, namespace: str = "") -> Option:
    """Find a setting by a name without its family, `namespace` first. Raises `KeyError` with the nearest name."""
    name, wanted = name.lower(), namespace.lower().rstrip("_")
    families = dict.fromkeys([wanted, *(known.partition("_")[0] for known in sorted(KNOWN_NAMES))])
    for family in families:
        if family and f"{family}_{name}" in KNOWN_NAMES:
            return Option(family, name, _type_of(f"{family}_{name}"))
    if name in KNOWN_NAMES:
        return Option(None, name, _type_of(name))
    raise KeyError(unknown_names([name], KNOWN_NAMES))


def _type_of(name: str) -> OptionType:
    if name in SETTING_NAMES:
        return OptionType(getattr(Settings(), name), type_text(name, Settings))
    return OptionType(CELERY_DEFAULTS.get(name), "anything: it has no effect here")


def table(values: Mapping[str, Any], censored: bool) -> dict[str, Any]:
    """Return the values by name, without secrets if `censored`."""
    return {name: censor(name, values[name]) if censored else values[name] for name in values}


def humanize(values: Mapping[str, Any]) -> str:
    """Return one setting a line; a long value goes on below its name."""
    lines = []
    for name, value in values.items():
        text = pprint.pformat(value, width=_WIDTH, sort_dicts=False)
        lines.append(f"{name}: {text}" if "\n" not in text else f"{name}:\n{_indented(text)}")
    return "\n".join(lines)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())

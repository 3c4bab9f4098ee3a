"""Tasks of both programs of the tests of serializers, compression and signatures, and where they find their settings."""

from __future__ import annotations

import json
import os
from typing import Any

SETTINGS_VARIABLE = "INTEROP_CONTENT"
"""Settings of both apps as JSON."""


class Unlucky(Exception):
    """An error that both programs know."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(number, why)
        self.number = number


def settings() -> dict[str, Any]:
    """Return the settings that the environment tells."""
    told: dict[str, Any] = json.loads(os.environ.get(SETTINGS_VARIABLE, "{}"))
    return told


def echo(value: Any) -> Any:
    return value


def kind(value: Any) -> str:
    return type(value).__name__


def fail(number: int) -> None:
    raise Unlucky(number, "x")


def register(app: Any) -> None:
    """Give an app of either library the tasks."""
    for function in (echo, kind, fail):
        app.task(name=f"content.{function.__name__}")(function)

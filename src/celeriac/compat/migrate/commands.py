"""Command lines of Celery in scripts, Procfiles, units and the like."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from celeriac.compat.migrate.finding import Finding
from celeriac.compat.migrate.settings import pool

_LINE: Final = re.compile(r"(?<![\w/.-])(?:python3? -m )?celery (?P<rest>[^#\n]*)")
_COMMANDS: Final = (
    "worker",
    "beat",
    "events",
    "inspect",
    "control",
    "status",
    "multi",
    "call",
    "purge",
    "result",
    "report",
)
_POOL: Final = re.compile(r"(?:-P|--pool)[= ]\s*(?P<pool>gevent|eventlet)\b")
_FLOWER: Final = re.compile(r"(?:^|\s)flower(?:\s|$)")


def of_commands(text: str, where: str) -> Iterator[Finding]:
    """Yield each command line of Celery, with what to write instead."""
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.search(line)
        if match is None:
            continue
        place, command = f"{where}:{number}", match.group(0).strip().rstrip("\"'],")
        words = match["rest"].split()
        if _FLOWER.search(match["rest"]):
            yield Finding(
                "differs",
                place,
                command,
                "Flower is Celery's own extension",
                "keep Celery for Flower: it sees these workers",
            )
        elif any(word.strip("\"',[]") in _COMMANDS for word in words):
            found = _POOL.search(line)
            if found is not None:
                yield Finding("stops", place, command, *pool(found["pool"]))
            yield Finding(
                "differs", place, command, "runs Celery", f"celeriac --as-celery {match['rest'].strip()}"[:200]
            )

"""Which files of a program are looked at."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

FILE_MAX_BYTES: Final = 2 * 1024 * 1024
"""Larger ones are no sources that somebody wrote."""

_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "site-packages", "build", "dist", "venv", "env"})
_COMMANDS: Final = frozenset({".sh", ".yml", ".yaml", ".service", ".conf", ".ini", ".toml", ".cfg", ".env", ".md", ""})
"""Endings of files in which command lines stand; without an ending: Procfile, Dockerfile, Makefile."""


def python_files(root: Path) -> Iterator[Path]:
    """Yield the Python sources of a directory and all below it, or the one file, in the order of their names."""
    yield from (path for path in _files(root) if path.suffix == ".py")


def command_files(root: Path) -> Iterator[Path]:
    """Yield files in which command lines may stand."""
    yield from (path for path in _files(root) if path.suffix in _COMMANDS)


def _files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    for directory, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name not in _SKIPPED and not name.startswith("."))
        if "pyvenv.cfg" in files:
            names.clear()
            continue
        for name in sorted(files):
            path = Path(directory, name)
            if path.is_file() and path.stat().st_size <= FILE_MAX_BYTES:
                yield path

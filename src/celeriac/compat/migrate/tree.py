"""What the sources of a program show, without running any of it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from celeriac.compat.migrate.commands import of_commands
from celeriac.compat.migrate.files import command_files, python_files
from celeriac.compat.migrate.finding import Finding
from celeriac.compat.migrate.imports import of_imports
from celeriac.compat.migrate.settings import of_settings
from celeriac.compat.migrate.uses import of_uses


def of_tree(roots: Iterable[Path]) -> Iterator[Finding]:
    """Yield what is found in files, and in directories with all below them. A source that can't be read is a finding as well."""
    for root in roots:
        for path in python_files(root):
            yield from _of_source(path)
        for path in command_files(root):
            yield from of_commands(path.read_text(errors="replace"), str(path))


def _of_source(path: Path) -> Iterator[Finding]:
    where = str(path)
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        yield Finding("differs", where, "a source that can't be read", f"not looked at: {error}", "")
        return
    yield from of_imports(tree, where)
    yield from of_settings(tree, path, where)
    yield from of_uses(tree, where)

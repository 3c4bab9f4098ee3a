"""Run by test_types_and_fixtures.py: prints the names of the stubs that are neither there nor explained."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from celeriac.compat import tables
from celeriac.compat.answered import public_names
from celeriac.compat.source import Source


def names_of(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names if alias.asname == alias.name)


stubs = Path(sys.argv[1])
found = 0
for path in sorted(stubs.rglob("*.pyi")):
    module = ".".join(("celery", *path.relative_to(stubs).with_suffix("").parts)).removesuffix(".__init__")
    there = public_names(tables.MODULES.get(module, Source()))
    for name in names_of(path):
        whole = f"{module}.{name}"
        if name.startswith("_") or name in there or whole in tables.MODULES:
            found += 1
        elif tables.instead_of(whole) is None:
            print(whole)
assert found > 400, found

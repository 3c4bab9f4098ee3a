"""Modules and names that a source imports, and that are not there."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from celeriac.compat import tables
from celeriac.compat.answered import public_names
from celeriac.compat.migrate.finding import Finding

_FAILS = "the import raises ImportError"
_CAUGHT = "the import raises ImportError, which the program catches"


def of_imports(tree: ast.AST, where: str) -> Iterator[Finding]:
    """Yield what is imported and missing."""
    caught = _in_try(tree)
    for node in ast.walk(tree):
        for name in _imported(node):
            if tables.is_ours(name) and not _is_there(name):
                is_caught = id(node) in caught
                yield Finding(
                    "differs" if is_caught else "stops",
                    f"{where}:{node.lineno}",  # type: ignore[attr-defined]  # imports have one
                    f"import of {name}",
                    _CAUGHT if is_caught else _FAILS,
                    tables.instead_of(name) or "",
                )


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield from (node.module if alias.name == "*" else f"{node.module}.{alias.name}" for alias in node.names)


def _is_there(name: str) -> bool:
    if name in tables.MODULES:
        return True
    module, _, attribute = name.rpartition(".")
    source = tables.MODULES.get(module)
    return source is not None and (attribute in source.names or attribute in public_names(source))


def _in_try(tree: ast.AST) -> set[int]:
    """Return the imports that stand in a `try` with an `except ImportError`, or in `if TYPE_CHECKING`."""
    found: set[int] = set()
    for node in ast.walk(tree):
        guarded = isinstance(node, ast.Try) and any(_catches(handler.type) for handler in node.handlers)
        if guarded or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            found |= {id(inner) for statement in node.body for inner in ast.walk(statement)}  # type: ignore[attr-defined]
    return found


def _catches(kind: ast.expr | None) -> bool:
    return kind is None or any(
        name in ast.unparse(kind) for name in ("ImportError", "ModuleNotFoundError", "Exception")
    )

"""Attributes of apps and tasks that are not there, and options that mean nothing here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from celeriac.client.left_out import OF_APPS, OF_CONTROL, OF_TASKS
from celeriac.client.options import CALL_OPTIONS, FOREIGN_CALL_OPTIONS, TASK_OPTIONS
from celeriac.compat.migrate.finding import Finding
from celeriac.core.ports import Backend

_MAKERS: Final = frozenset({"task", "shared_task"})
_CALLS: Final = frozenset({"apply_async", "send_task"})
_NOT_OPTIONS: Final = frozenset({"name", "bind", "base", "shared", "lazy", "args", "kwargs", "task_id"})
_APPS: Final = frozenset({"app", "celery", "celery_app", "current_app"})
"""What apps are called in programs, beside the variables that one is assigned to."""
_RAISES: Final = "raises AttributeError"
_OF_BACKENDS: Final = frozenset(dir(Backend)) | Backend.__annotations__.keys()
_RESULTS: Final = (
    "read results with AsyncResult, write states with update_state; for all else take your store's own client"
)


def of_uses(tree: ast.AST, where: str) -> Iterator[Finding]:
    """Yield uses in a source that imports Celery, or takes an app from a module that does."""
    if not _knows_celery(tree):
        return
    apps = _APPS | _assigned_apps(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield from _attribute(node, apps, where)
        elif isinstance(node, ast.Call):
            yield from _options(node, where)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _is_bound_task(node):
            yield from _of_own_task(node, where)


def _attribute(node: ast.Attribute, apps: frozenset[str], where: str) -> Iterator[Finding]:
    match node:
        case ast.Attribute(value=ast.Name(id=owner), attr=name) if owner in apps and name in OF_APPS:
            yield _missing(node, f"{owner}.{name}", OF_APPS, where)
        case ast.Attribute(value=ast.Attribute(value=ast.Name(id=owner), attr="control"), attr=name):
            if owner in apps and name in OF_CONTROL:
                yield _missing(node, f"{owner}.control.{name}", OF_CONTROL, where)
        case ast.Attribute(value=ast.Attribute(value=ast.Name(id=owner), attr="backend"), attr=name):
            if owner in apps and name not in _OF_BACKENDS:
                yield Finding("stops", f"{where}:{node.lineno}", f"{owner}.backend.{name}", _RAISES, _RESULTS)


def _of_own_task(function: ast.FunctionDef | ast.AsyncFunctionDef, where: str) -> Iterator[Finding]:
    own = function.args.args[0].arg
    for node in ast.walk(function):
        match node:
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if owner == own and name in OF_TASKS:
                yield _missing(node, f"{own}.{name} of a task", OF_TASKS, where)


def _missing(node: ast.Attribute, what: str, reasons: dict[str, str], where: str) -> Finding:
    return Finding("stops", f"{where}:{node.lineno}", what, _RAISES, reasons[node.attr])


def _options(node: ast.Call, where: str) -> Iterator[Finding]:
    called = _name_of(node.func)
    given = {keyword.arg: keyword for keyword in node.keywords if keyword.arg}
    place = f"{where}:{node.lineno}"
    if called in _MAKERS:
        for name in given.keys() - {*TASK_OPTIONS, *_NOT_OPTIONS}:
            # A base class may add options of its own, which are then no mistake.
            level, here = (
                ("idle", "becomes an attribute of the task") if "base" in given else ("differs", "no option here")
            )
            text = (
                "as with Celery, its base class may read it"
                if "base" in given
                else "kept as an attribute with --as-celery, else refused"
            )
            yield Finding(level, place, f"option {name} of a task", here, text)  # type: ignore[arg-type]  # see above
    elif called in _CALLS:
        for name in given.keys() & FOREIGN_CALL_OPTIONS:
            yield Finding(
                "differs",
                place,
                f"option {name} of a call",
                "passed over with --as-celery, else refused",
                "leave it out: an app keeps its own connection to the broker",
            )
        for name in given.keys() - {*CALL_OPTIONS, *FOREIGN_CALL_OPTIONS, *_NOT_OPTIONS, "name"}:
            yield Finding(
                "differs", place, f"option {name} of a call", "passed over with --as-celery, else refused", ""
            )


def _name_of(called: ast.expr) -> str:
    return called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""


def _knows_celery(tree: ast.AST) -> bool:
    """Tell whether a source imports Celery, or something out of a module that is called so."""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        if any("celery" in name for name in (*names, module)):
            return True
    return False


def _assigned_apps(tree: ast.AST) -> frozenset[str]:
    """Return the variables that a `Celery(...)` is assigned to."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _name_of(node.value.func) == "Celery":
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return frozenset(found)


def _is_bound_task(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return bool(function.args.args) and any(
        isinstance(decorator, ast.Call)
        and _name_of(decorator.func) in _MAKERS
        and any(keyword.arg == "bind" for keyword in decorator.keywords)
        for decorator in function.decorator_list
    )

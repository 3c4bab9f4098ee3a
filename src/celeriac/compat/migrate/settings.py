"""Settings that a source gives."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from celeriac.compat.migrate.finding import Finding
from celeriac.core.setting_without_effect import WITHOUT_EFFECT
from celeriac.core.settings import KNOWN_NAMES, OLD_NAMES

_POOLS_ELSEWHERE: Final = ("gevent", "eventlet")
_OWN_CLASSES: Final = frozenset({"worker_consumer", "worker_autoscaler", "worker_agent", "worker_timer"})
_CONFIG_MODULES: Final = ("celeryconfig", "celery_config")


class _Given(NamedTuple):
    name: str
    """As it is written."""
    value: ast.expr
    line: int


def of_settings(tree: ast.Module, path: Path, where: str) -> Iterator[Finding]:
    """Yield settings that have no effect, or another one than in Celery."""
    for given in _given(tree, path):
        setting = _setting(given.name)
        if setting is None:
            continue
        place, what = f"{where}:{given.line}", f"setting {given.name}"
        value = given.value.value if isinstance(given.value, ast.Constant) else None
        if setting == "worker_pool" and isinstance(value, str) and value.startswith(_POOLS_ELSEWHERE):
            yield Finding("differs", place, f"{what} = {value!r}", *pool(value))
        elif setting in WITHOUT_EFFECT:
            yield Finding(
                "differs" if setting in _OWN_CLASSES else "idle",
                place,
                what,
                "accepted, and without effect",
                WITHOUT_EFFECT[setting],
            )


def pool(name: str) -> tuple[str, str]:
    """Return what becomes of a pool of green threads, and what to do."""
    return (
        f"there is no {name}: the worker refuses -P {name}",
        "write tasks that wait as `async def` (the executor async), or take -P threads with a higher -c",
    )


def _given(tree: ast.Module, path: Path) -> Iterator[_Given]:
    in_config = path.stem in _CONFIG_MODULES
    for statement in tree.body:
        for name, value in _assigned(statement):
            if in_config or name.startswith(("CELERY", "BROKER_")):
                yield _Given(name, value, statement.lineno)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Attribute) and _is_conf(target.value):
                    yield _Given(target.attr, node.value, node.lineno)
                elif (
                    isinstance(target, ast.Subscript)
                    and _is_conf(target.value)
                    and isinstance(target.slice, ast.Constant)
                ):
                    yield _Given(str(target.slice.value), node.value, node.lineno)
        elif isinstance(node, ast.Call) and _is_update(node.func):
            yield from (_Given(keyword.arg, keyword.value, node.lineno) for keyword in node.keywords if keyword.arg)
            yield from _entries(node.args)


def _entries(arguments: list[ast.expr]) -> Iterator[_Given]:
    for argument in arguments:
        if isinstance(argument, ast.Dict):
            for key, value in zip(argument.keys, argument.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield _Given(key.value, value, key.lineno)


def _assigned(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(statement, ast.Assign):
        yield from ((target.id, statement.value) for target in statement.targets if isinstance(target, ast.Name))
    elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
        yield statement.target.id, statement.value


def _is_update(called: ast.expr) -> bool:
    return isinstance(called, ast.Attribute) and called.attr == "update" and _is_conf(called.value)


def _is_conf(node: Any) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "conf"


def _setting(name: str) -> str | None:
    """Return the setting's name of today: of `result_expires`, `CELERY_RESULT_EXPIRES` and `CELERY_TASK_RESULT_EXPIRES`."""
    for candidate in (name, OLD_NAMES.get(name), name.removeprefix("CELERY_").lower(), name.lower()):
        if candidate in KNOWN_NAMES:
            return candidate
    return None

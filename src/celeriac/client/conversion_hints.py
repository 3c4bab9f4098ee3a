"""The type hints of a function, resolved one by one, so that an error can name the parameter."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

from msgspec import Struct

from celeriac.exceptions import ImproperlyConfigured

NOTHING: Final[tuple[Any, ...]] = (inspect.Parameter.empty, Any, object)
"""Hints that say nothing."""


class Hint(Struct, frozen=True):
    """One parameter's hint; `type` is Any where there is none."""

    name: str
    type: Any

    @property
    def text(self) -> str:
        """The hint as a program writes it."""
        return inspect.formatannotation(self.type)


class Hints(Struct):
    """The hints of all parameters, by the ways in which an argument can be given."""

    positional: list[Hint]
    named: dict[str, Hint]
    rest: Hint | None
    """Of each of `*args`."""
    more: Hint | None
    """Of each of `**kwargs`."""
    returned: Hint | None
    """None when there is none, or it says nothing."""


def hints_of(task_name: str, function: Callable[..., Any], signature: inspect.Signature) -> Hints:
    """Resolve all hints of a task's function. Raises `ImproperlyConfigured` that names the parameter."""
    names = _names_around(function)
    hints = Hints([], {}, None, None, None)
    for parameter in signature.parameters.values():
        hint = _resolve(task_name, parameter.name, parameter.annotation, names)
        match parameter.kind:
            case parameter.VAR_POSITIONAL:
                hints.rest = hint
            case parameter.VAR_KEYWORD:
                if typing.get_origin(hint.type) is typing.Unpack:
                    (fields,) = typing.get_args(hint.type)
                    for name, kind in typing.get_type_hints(fields, include_extras=True).items():
                        hints.named[name] = Hint(name, _without_required(kind))
                else:
                    hints.more = hint
            case parameter.KEYWORD_ONLY:
                hints.named[parameter.name] = hint
            case _:
                hints.positional.append(hint)
                if parameter.kind is not parameter.POSITIONAL_ONLY:
                    hints.named[parameter.name] = hint
    if signature.return_annotation not in NOTHING:
        hints.returned = Hint("return", signature.return_annotation)
    return hints


def _resolve(task_name: str, parameter: str, annotation: Any, names: tuple[dict[str, Any], dict[str, Any]]) -> Hint:
    if annotation in NOTHING:
        return Hint(parameter, Any)
    holder: Any = SimpleNamespace(__annotations__={parameter: annotation})
    try:
        return Hint(parameter, typing.get_type_hints(holder, *names, include_extras=True)[parameter])
    except Exception as error:  # a hint may be any expression
        raise ImproperlyConfigured(
            f"task {task_name!r}: the type hint {annotation!r} of parameter {parameter!r} can't be resolved"
            f" ({type(error).__name__}: {error}): its names have to be known where the task is defined, and not for type"
            " checkers only"
        ) from None


def _names_around(function: Callable[..., Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return globals and closure of a function, of the innermost one if it is wrapped."""
    innermost: Any = inspect.unwrap(function)
    innermost = getattr(innermost, "__func__", innermost)
    if not inspect.isfunction(innermost):
        return {}, {}
    return innermost.__globals__, dict(inspect.getclosurevars(innermost).nonlocals)


def _without_required(kind: Any) -> Any:
    return typing.get_args(kind)[0] if typing.get_origin(kind) in (typing.Required, typing.NotRequired) else kind

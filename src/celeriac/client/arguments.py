"""Checks of a call's arguments where the call is made: do they fit the signature, are they plain data?"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from datetime import timedelta
from typing import Any, Final

import msgspec

from celeriac.exceptions import ArgumentError, EncodeError

Dump = Callable[[Any], object]
"""Writes a value with the serializer of the call; raises `EncodeError` for what it can't write."""

DEPTH_MAX: Final = 64
"""How deep the search for a bad value goes; the serializers go no deeper either."""


class Binder:
    """Knows what a function takes, read from its signature once, so that a check costs some comparisons only."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self._name = name
        self.signature: Final = inspect.signature(function)
        positional = []
        keywords = set()
        required = []
        required_keywords = set()
        self._takes_any_args = False
        self._takes_any_kwargs = False
        self._positional_only: set[str] = set()
        for parameter in self.signature.parameters.values():
            match parameter.kind:
                case parameter.VAR_POSITIONAL:
                    self._takes_any_args = True
                case parameter.VAR_KEYWORD:
                    self._takes_any_kwargs = True
                case parameter.KEYWORD_ONLY:
                    keywords.add(parameter.name)
                    if parameter.default is parameter.empty:
                        required_keywords.add(parameter.name)
                case _:
                    positional.append(parameter.name)
                    if parameter.kind is parameter.POSITIONAL_ONLY:
                        self._positional_only.add(parameter.name)
                    else:
                        keywords.add(parameter.name)
                    if parameter.default is parameter.empty:
                        required.append(parameter.name)
        self._positional: Final = positional
        self._keywords: Final = frozenset(keywords)
        self._required: Final = required
        self._required_keywords: Final = frozenset(required_keywords)
        self._fewest = len(required)
        self._most = len(positional)

    def takes_more_than(self, count: int) -> bool:
        """Tell whether the function could be called with more than `count` positional arguments."""
        return self._takes_any_args or self._most > count

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise `ArgumentError` that names the parameter when a call with these arguments could not be made."""
        count = len(args)
        if not kwargs:
            if self._fewest <= count and (count <= self._most or self._takes_any_args) and not self._required_keywords:
                return
        elif (
            (count <= self._most or self._takes_any_args)
            and (kwargs.keys() <= self._keywords or self._takes_any_kwargs)
            and self._required_keywords <= kwargs.keys()
            and not any(name in kwargs for name in self._positional[:count])
            and all(name in kwargs for name in self._required[count:])
            and not any(name in self._positional_only for name in self._required[count:])
        ):
            return
        problem = self._problem(count, kwargs)
        if problem is not None:
            raise ArgumentError(f"{self._name}() {problem}; its signature is {self}")

    def name_of(self, index: int) -> str:
        """Return the parameter that takes the positional argument number `index`."""
        return self._positional[index] if index < self._most else f"argument {index + 1}"

    def __str__(self) -> str:
        parameters = [each.replace(annotation=_bare(each.annotation)) for each in self.signature.parameters.values()]
        shown = self.signature.replace(parameters=parameters, return_annotation=_bare(self.signature.return_annotation))
        return f"{self._name.rpartition('.')[2]}{shown}"

    def _problem(self, count: int, kwargs: Mapping[str, Any]) -> str | None:
        if count > self._most and not self._takes_any_args:
            return f"takes at most {self._most} positional arguments, {count} were given"
        for name in self._positional[:count]:
            if name in kwargs and not (name in self._positional_only and self._takes_any_kwargs):
                return f"got two values for the argument {name!r}"
        for name in kwargs:
            if name not in self._keywords and not self._takes_any_kwargs:
                if name in self._positional_only:
                    return f"takes the argument {name!r} by position only"
                return f"takes no argument {name!r}"
        missing = [
            name for name in self._required[count:] if name not in kwargs or name in self._positional_only
        ] + sorted(self._required_keywords - kwargs.keys())
        if missing:
            plural = "s" if len(missing) > 1 else ""
            return f"misses the argument{plural} {', '.join(map(repr, missing))}"
        return None


class _Bare(str):
    """An annotation that is text (`from __future__ import annotations`), shown without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _bare(annotation: Any) -> Any:
    return _Bare(annotation) if isinstance(annotation, str) else annotation


def explain_unwritable(
    task_name: str,
    binder: Binder | None,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    serializer: str,
    dump: Dump,
) -> ArgumentError | None:
    """Find the value of a call that `dump` can't write; the error names parameter, path, type and cure.

    Returns None when the arguments are not to blame.
    """
    for index, value in enumerate(args):
        name = binder.name_of(index) if binder is not None else f"argument {index + 1}"
        if not _can(dump, value):
            return _explain(task_name, name, value, serializer, dump)
    for key, value in kwargs.items():
        if not _can(dump, value):
            return _explain(task_name, key, value, serializer, dump)
    return None


def _explain(task_name: str, parameter: str, value: Any, serializer: str, dump: Dump) -> ArgumentError:
    path, culprit = _dig(parameter, value, dump)
    where = f"argument {parameter!r}" if path == parameter else f"argument {parameter!r}, at {path},"
    return ArgumentError(
        f"calling {task_name!r}: {where} is a {_type_name(culprit)}, which {serializer} can't carry; {_cure(path, culprit)}"
    )


def _dig(path: str, value: Any, dump: Dump) -> tuple[str, Any]:
    """Go down to the innermost value that can't be written; return its path as Python would spell it, and it."""
    for _ in range(DEPTH_MAX):
        for inner_path, inner in _inside(path, value):
            if not _can(dump, inner):
                path, value = inner_path, inner
                break
        else:
            break
    return path, value


def _inside(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield f"{path}[{key!r}]", inner
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield f"{path}[{index}]", inner


def _can(dump: Dump, value: Any) -> bool:
    try:
        dump(value)
    except EncodeError:
        return False
    return True


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


_OR_VALIDATE: Final = ", or give the parameter a type hint and the task validate=True"


def _cure(path: str, value: Any) -> str:
    if inspect.isawaitable(value):
        return f"await it first: `await {path}`"
    if isinstance(value, Set):
        return f"pass a list: `sorted({path})`{_OR_VALIDATE}"
    if isinstance(value, enum.Enum):
        return f"pass `{path}.value`{_OR_VALIDATE}"
    if isinstance(value, os.PathLike):
        return f"pass `str({path})`"
    if isinstance(value, io.IOBase):
        return "pass the file's path, or its content"
    if isinstance(value, BaseException):
        return f"pass `str({path})`"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return f"pass `dataclasses.asdict({path})`{_OR_VALIDATE}"
    if isinstance(value, msgspec.Struct):
        return f"pass `msgspec.to_builtins({path})`{_OR_VALIDATE}"
    if hasattr(type(value), "__pydantic_validator__"):
        return f"pass `{path}.model_dump(mode='json')`{_OR_VALIDATE}"
    if isinstance(value, timedelta):
        return f"pass `{path}.total_seconds()`{_OR_VALIDATE}"
    for attribute in ("id", "pk"):
        # Only what stands there already: a property of an ORM object may ask its database.
        if attribute in getattr(value, "__dict__", {}) or _is_column(value, attribute):
            return f"pass `{path}.{attribute}` and look the object up in the task"
    if isinstance(value, Mapping | list | tuple):
        return "it is nested too deeply, refers to itself, or has keys that are no text"
    if callable(value):
        return "pass data that says what to do, not the code itself"
    return "pass plain data: text, numbers, lists, dicts, dates"


def _is_column(value: Any, attribute: str) -> bool:
    try:
        inspect.getattr_static(value, attribute)
    except AttributeError:
        return False
    return True

"""Typed arguments: what a task's type hints make of its arguments in the caller and in the worker, and of what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from celeriac.client.conversion_hints import Hint, hints_of
from celeriac.client.conversion_plain import Converter, make_converter, to_plain
from celeriac.client.conversion_pydantic import PydanticArguments
from celeriac.exceptions import ArgumentError, ImproperlyConfigured

if TYPE_CHECKING:
    from celeriac.client.task import Task
    from celeriac.core.settings import Settings

Arguments = tuple[Sequence[Any], Mapping[str, Any]]


class Conversion(Protocol):
    """What a task does with arguments that are more than plain data."""

    def dump_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any], serializer: str) -> Arguments:
        """Return what is to be sent in this serializer; raises `ArgumentError` that names the parameter."""

    def dump_loosely(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Arguments:
        """Return plain data of arguments whose parameters are not known yet, for signatures."""

    def load_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what the function is called with; raises `ArgumentError` that names the parameter."""

    def dump_result(self, value: Any) -> Any:
        """Return what is to be stored of what the function returned."""


def make_conversion(task: Task[Any, Any], settings: Settings) -> Conversion | None:
    """Return what a task's options ask for, None for most tasks.

    Raises `ImproperlyConfigured` for a hint that can't be resolved, or that nothing can be converted to.
    """
    if task.pydantic:
        if task.is_explicit("validate") and task.validate:
            raise ImproperlyConfigured(
                f"task {task.name!r}: pydantic and validate are two ways to do the same: choose one (validate=True takes pydantic"
                " models as well, and checks in the caller)"
            )
        return PydanticArguments(task)
    return TypedArguments(task, settings) if task.validate else None


class TypedArguments:
    """`validate=True`: hints check and convert on both sides. Worked out once per task; thread-safe."""

    def __init__(self, task: Task[Any, Any], settings: Settings) -> None:
        self._task_name = task.name
        hints = hints_of(task.name, task.run, task.binder.signature)
        self._positional = [self._converter(hint) for hint in hints.positional]
        self._named = {name: self._converter(hint) for name, hint in hints.named.items()}
        self._rest = self._converter(hints.rest) if hints.rest is not None else None
        self._more = self._converter(hints.more) if hints.more is not None else None
        self._converts_result = hints.returned is not None
        signed = settings.result_serializer in ("auth", "hmac")
        self._result_serializer = settings.security_serializer if signed else settings.result_serializer

    def dump_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any], serializer: str) -> Arguments:
        """See `Conversion`."""
        return self._each(args, kwargs, lambda converter, value: converter.dump(value, serializer), "calling ")

    def dump_loosely(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Arguments:
        """See `Conversion`."""
        return [_loosely(value) for value in args], {name: _loosely(value) for name, value in kwargs.items()}

    def load_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """See `Conversion`."""
        return self._each(args, kwargs, lambda converter, value: converter.load(value), "task ")

    def dump_result(self, value: Any) -> Any:
        """See `Conversion`."""
        if not self._converts_result or value is None:
            return value
        try:
            return to_plain(value, self._result_serializer)
        except (TypeError, ValueError):
            return value  # the serializer of results has the better words for it

    def _converter(self, hint: Hint) -> tuple[Hint, Converter | None]:
        return hint, make_converter(self._task_name, hint)

    def _each(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        convert: Callable[[Converter, Any], Any],
        who: str,
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        def one(known: tuple[Hint, Converter | None] | None, value: Any, name: str) -> Any:
            if known is None or known[1] is None:
                return value
            try:
                return convert(known[1], value)
            except (TypeError, ValueError) as error:
                raise ArgumentError(
                    f"{who}{self._task_name!r}: argument {name!r} of type {_type_name(value)} does not fit {known[0].text}: {error}"
                ) from None

        positional = self._positional
        converted = []
        for index, value in enumerate(args):
            known = positional[index] if index < len(positional) else self._rest
            converted.append(one(known, value, known[0].name if known is not None else f"argument {index + 1}"))
        named = {name: one(self._named.get(name, self._more), value, name) for name, value in kwargs.items()}
        return tuple(converted), named


def _loosely(value: Any) -> Any:
    try:
        return to_plain(value, "json")
    except (TypeError, ValueError):
        return value


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"

"""The commands that a worker answers, by name."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, Literal, TypeVar, overload

from msgspec import Struct

CommandFunction = Callable[..., Any]
F = TypeVar("F", bound=CommandFunction)
Kind = Literal["inspect", "control"]

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})


class Command(Struct, frozen=True):
    """What is known of a command beside its function; Celery's `controller_info_t`."""

    alias: str | None
    type: Kind
    """`inspect` only looks, `control` changes something."""
    visible: bool
    default_timeout: float
    """Seconds that clients wait for replies, if they say nothing else."""
    help: str
    signature: str | None
    """Its arguments as the command line shows them."""
    args: Sequence[tuple[str, Callable[[str], Any]]]
    """Name and type of the arguments that the command line takes, in their order."""
    variadic: str | None
    """The argument that takes the rest of the command line, as a list."""
    in_loop: bool = False
    """It is quick and waits for nothing, so it runs in the worker's event loop; others run in threads."""
    changes: bool = True
    """Where requests have to be signed, this one has."""


class Panel:
    """The registry of remote control commands, one for the program; for a worker, see that its module is imported."""

    data: ClassVar[dict[str, CommandFunction]] = {}
    """Name or alias -> the function, which gets the worker's state and the arguments of the request."""
    meta: ClassVar[dict[str, Command]] = {}
    """Name -> what else is known."""

    @classmethod
    def register(cls, *functions: F, **options: Any) -> Any:
        """Register a command: as a decorator, with or without options; see `control_command`."""
        decorate = cls._registering(**options)
        return decorate(functions[0]) if functions else decorate

    @classmethod
    def _registering(
        cls,
        *,
        name: str | None = None,
        alias: str | None = None,
        type: Kind = "control",
        visible: bool = True,
        default_timeout: float = 1.0,
        help: str | None = None,
        signature: str | None = None,
        args: Sequence[tuple[str, Callable[[str], Any]]] | None = None,
        variadic: str | None = None,
        in_loop: bool = False,
        changes: bool | None = None,
    ) -> Callable[[F], F]:
        def register(function: F) -> F:
            known = str(name or getattr(function, "__name__", ""))
            if not known.isidentifier():
                raise ValueError(f"a remote control command needs a name that is an identifier, not {known!r}")
            said = help or (function.__doc__ or "").strip().partition("\n")[0]
            types = list(args) if args is not None else _annotated(function, variadic)
            shown = signature if signature is not None or args is not None else _written(function, types)
            does_change = type == "control" if changes is None else changes
            cls.data[known] = function
            cls.meta[known] = Command(
                alias, type, visible, default_timeout, said, shown, types, variadic, in_loop, does_change
            )
            if alias:
                cls.data[alias] = function
            return function

        return register

    @classmethod
    def find(cls, name: str) -> tuple[CommandFunction, Command]:
        """Return a command by its name or alias. Raises `KeyError`."""
        function = cls.data[name]
        known = cls.meta.get(name)
        if known is None:
            known = next(meta for meta in cls.meta.values() if meta.alias == name)
        return function, known


@overload
def control_command(function: F, /) -> F: ...
@overload
def control_command(**options: Any) -> Callable[[F], F]: ...
def control_command(*functions: Any, **options: Any) -> Any:
    """Register a command that changes something in a worker: `celeriac control NAME`, `app.control.broadcast(NAME)`.

    The function gets the worker's `ControlState` and the arguments of the request by name; what it returns, plain data, is the
    worker's reply.  It runs in a thread, not longer than `worker_control_command_timeout_s`; what it raises is the reply
    `{"error": ...}`.  It may be a decorator with or without these options:

    Args:
        name: the command's name; the function's, if not given. alias: another one.
        args: `(name, type)` of the arguments in their order on the command line; worked out of the annotations, if not given.
        signature: the arguments as help shows them. help: one line; else the first of the docstring.
        variadic: the argument that takes the rest of the command line, as a list.
        default_timeout: seconds that clients wait for replies. visible: False hides it in lists.

    Raises `ValueError` for a name that is none.
    """
    return Panel.register(*functions, type="control", **options)


@overload
def inspect_command(function: F, /) -> F: ...
@overload
def inspect_command(**options: Any) -> Callable[[F], F]: ...
def inspect_command(*functions: Any, **options: Any) -> Any:
    """Register a command that only looks: `celeriac inspect NAME`; see `control_command`."""
    return Panel.register(*functions, type="inspect", **options)


def boolean(text: str | bool) -> bool:
    """Read a boolean of the command line. Raises `ValueError`."""
    word = str(text).lower()
    if word not in _TRUE | _FALSE:
        raise ValueError(f"{text!r} is neither true nor false")
    return word in _TRUE


def _annotated(function: CommandFunction, variadic: str | None) -> list[tuple[str, Callable[[str], Any]]]:
    """Return the types of the arguments after the first as the annotations say: those that a text can be read as."""
    try:
        hints = typing.get_type_hints(function)
        parameters = list(inspect.signature(function).parameters.values())[1:]
    except (TypeError, ValueError, NameError):
        return []
    readers: dict[Any, Callable[[str], Any]] = {int: int, float: float, str: str, bool: boolean}
    return [
        (parameter.name, readers.get(hints.get(parameter.name), str))
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY) and parameter.name != variadic
    ]


def _written(function: CommandFunction, types: Sequence[tuple[str, Any]]) -> str | None:
    if not types:
        return None
    parameters = inspect.signature(function).parameters
    optional = {name for name, _ in types if parameters[name].default is not inspect.Parameter.empty}
    return " ".join(f"[{name}]" if name in optional else f"<{name}>" for name, _ in types)

"""`pydantic=True`, as Celery has it: models among the arguments are validated where the task runs, and a returned model is dumped.

Parameters whose hint is a model, or a model or None, take part; nothing else does.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celeriac.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.task import Task


class Models:
    """What one function says about models."""

    def __init__(
        self,
        function: Callable[..., Any],
        strict: bool,
        context: Mapping[str, Any],
        dump_kwargs: Mapping[str, Any] | None,
    ) -> None:
        """Raises `ImproperlyConfigured` when pydantic is not installed."""
        try:
            import pydantic
        except ImportError:
            raise ImproperlyConfigured("pydantic=True needs pydantic: pip install 'celeriac[pydantic]'") from None
        self.base: type[Any] = pydantic.BaseModel
        self.signature = inspect.signature(function)
        self._strict = strict
        self._context = context
        self._dump_kwargs = {"mode": "json", **(dump_kwargs or {})}
        hints = _hints_of(function)
        parameters = self.signature.parameters.values()
        self._models = {each.name: self._model_in(hints.get(each.name, each.annotation)) for each in parameters}
        single = [each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
        self._positional = [each.name for each in single if each.kind is not each.KEYWORD_ONLY]
        self._named = {each.name for each in single if each.kind is not each.POSITIONAL_ONLY}
        self._rest = next((each.name for each in parameters if each.kind is each.VAR_POSITIONAL), None)
        self._more = next((each.name for each in parameters if each.kind is each.VAR_KEYWORD), None)
        returned = hints.get("return", self.signature.return_annotation)
        optional = _optional(returned)
        self._returned = returned if optional is None else optional

    def load(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
        """Return the arguments with models in them. Raises `TypeError`, and pydantic's `ValidationError`."""
        bound = self.signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            # Celery takes `*args` and `**kwargs` each for one model, which never fits.
            if name == self._rest:
                bound.arguments[name] = tuple(self._load_one(name, each) for each in value)
            elif name == self._more:
                bound.arguments[name] = {key: self._load_one(name, each) for key, each in value.items()}
            else:
                bound.arguments[name] = self._load_one(name, value)
        return bound

    def dump_returned(self, value: Any) -> Any:
        """Return plain data of a model that is of the type which the function says it returns."""
        kind = self._returned
        if isinstance(value, self.base) and isinstance(kind, type) and issubclass(type(value), kind):
            return value.model_dump(**self._dump_kwargs)
        return value

    def dump(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return the arguments with plain data for those models that come back from it as they were."""
        if not any(isinstance(value, self.base) for value in (*args, *kwargs.values())):
            return args, kwargs
        names = self._positional
        return (
            [self._dump_one(names[at] if at < len(names) else self._rest, value) for at, value in enumerate(args)],
            {
                name: self._dump_one(name if name in self._named else self._more, value)
                for name, value in kwargs.items()
            },
        )

    def _load_one(self, name: str, value: Any) -> Any:
        model = self._model_for(name, value)
        return value if model is None else self._validate(model, value)

    def _dump_one(self, name: str | None, value: Any) -> Any:
        if name is None or not isinstance(value, self.base) or hasattr(type(value), "__json__"):
            return value
        model = self._model_for(name, value)
        if model is None:
            return value
        try:
            dumped = value.model_dump(**self._dump_kwargs)
            return dumped if self._validate(model, dumped) == value else value
        except (
            Exception
        ):  # the model's own validators may work in a worker only: the serializer says what it can't write
            return value

    def _model_in(self, hint: Any) -> tuple[type[Any] | None, bool]:
        """Return the model of a hint, if any, and whether None may stand for it."""
        optional = _optional(hint)
        kind = hint if optional is None else optional
        return (kind if isinstance(kind, type) and issubclass(kind, self.base) else None), optional is not None

    def _model_for(self, name: str, value: Any) -> type[Any] | None:
        model, may_be_none = self._models.get(name, (None, False))
        return None if value is None and may_be_none else model

    def _validate(self, model: Any, value: Any) -> Any:
        return model.model_validate(value, strict=self._strict, context=dict(self._context))


def wrap(run: Callable[..., Any], app: Celeriac, task_name: str, options: Mapping[str, Any]) -> Callable[..., Any]:
    """Return the task's function with models at both ends; `options` are the task's."""
    context = {**(options.get("pydantic_context") or {}), "celery_app": app, "celery_task_name": task_name}
    models = Models(run, options.get("pydantic_strict", False), context, options.get("pydantic_dump_kwargs"))
    wrapper: Any
    if inspect.iscoroutinefunction(run):

        @functools.wraps(run)
        async def in_coroutine(*args: Any, **kwargs: Any) -> Any:
            bound = models.load(args, kwargs)
            return models.dump_returned(await run(*bound.args, **bound.kwargs))

        wrapper = in_coroutine
    else:

        @functools.wraps(run)
        def in_function(*args: Any, **kwargs: Any) -> Any:
            bound = models.load(args, kwargs)
            return models.dump_returned(run(*bound.args, **bound.kwargs))

        wrapper = in_function
    wrapper.models = models
    return typing.cast("Callable[..., Any]", wrapper)


class PydanticArguments:
    """What a caller of such a task does; everything else happens in the wrapped function. See `Conversion`."""

    def __init__(self, task: Task[Any, Any]) -> None:
        models = getattr(task.run, "models", None)
        if not isinstance(models, Models):
            raise ImproperlyConfigured(
                f"task {task.name!r}: pydantic=True has to be given where the task is defined, and can't be changed afterwards"
            )
        self._models = models

    def dump_arguments(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], serializer: str
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return plain data for models, as far as possible; pickle can carry them as they are."""
        return (args, kwargs) if serializer == "pickle" else self._models.dump(args, kwargs)

    def dump_loosely(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return the same: signatures keep models until they are sent."""
        return args, kwargs

    def load_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the same."""
        return tuple(args), dict(kwargs)

    def dump_result(self, value: Any) -> Any:
        """Return the same."""
        return value


def _hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except (NameError, AttributeError, TypeError):  # as in Celery: what can't be resolved does not take part
        return {}


def _optional(hint: Any) -> Any:
    """Return X for X | None, None for every other hint."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return None
    members = typing.get_args(hint)
    if len(members) != 2 or type(None) not in members:
        return None
    return members[0] if members[1] is type(None) else members[1]

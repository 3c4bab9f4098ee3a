"""A call that has been written down but not made: what `link=` takes, and what travels in a message's embed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.result import AsyncResult, EagerResult


class Signature(dict[str, Any]):
    """A task's name, arguments and options as a dict of Celery's layout, so that it can be sent as it is.

    It is data: the app is only remembered to make the call, and gets lost when the signature is copied as a dict.
    """

    __slots__ = ("_app",)

    def __init__(
        self,
        task: str | Mapping[str, Any],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        immutable: bool = False,
        app: Celeriac | None = None,
    ) -> None:
        if isinstance(task, str):
            super().__init__(
                task=task,
                args=list(args or ()),
                kwargs=dict(kwargs or {}),
                options=dict(options or {}),
                subtask_type=None,
                immutable=immutable,
            )
        else:
            super().__init__(task)
            if "task" not in self:
                raise TypeError(f"a signature names its task: {task!r}")
            for name, empty in (
                ("args", list),
                ("kwargs", dict),
                ("options", dict),
                ("subtask_type", None),
                ("immutable", bool),
            ):
                self.setdefault(name, empty() if empty is not None else None)
        self._app = app

    @property
    def task(self) -> str:
        """The task's name."""
        name: str = self["task"]
        return name

    @property
    def args(self) -> list[Any]:
        """Positional arguments."""
        args: list[Any] = self["args"]
        return args

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments."""
        kwargs: dict[str, Any] = self["kwargs"]
        return kwargs

    @property
    def options(self) -> dict[str, Any]:
        """Options of the call."""
        options: dict[str, Any] = self["options"]
        return options

    @property
    def immutable(self) -> bool:
        """True when results of other tasks are not put before its arguments."""
        return bool(self["immutable"])

    def set(self, *, immutable: bool | None = None, **options: Any) -> Signature:
        """Change options of the call, and `immutable`; returns the signature itself."""
        if immutable is not None:
            self["immutable"] = immutable
        self.options.update(options)
        return self

    def clone(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Signature:
        """Return a copy with `args` put before its own, and `kwargs` and options over its own.

        An immutable signature takes no arguments.
        """
        all_args, all_kwargs, all_options = self._merge(args, kwargs, options)
        return Signature(self.task, all_args, all_kwargs, _copied(all_options), immutable=self.immutable, app=self._app)

    def link(self, callback: Mapping[str, Any]) -> Mapping[str, Any]:
        """Call `callback` with the result when the task has succeeded; returns the callback."""
        _add(self.options, "link", callback)
        return callback

    def link_error(self, errback: Mapping[str, Any]) -> Mapping[str, Any]:
        """Call `errback` with the task's id when the task has failed; returns the errback."""
        _add(self.options, "link_error", errback)
        return errback

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
        """Make the call, with these arguments added."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[Any]:
        """Make the call, with arguments and options added; errors as those of `Task.apply_async`."""
        all_args, all_kwargs, all_options = self._merge(args, kwargs, options)
        app = self._bound()
        if self.task in app.tasks:
            return app.tasks[self.task].apply_async(all_args, all_kwargs, **all_options)
        return app.send_task(self.task, all_args, all_kwargs, **all_options)

    def apply(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> EagerResult[Any]:
        """Run the task here and now."""
        all_args, all_kwargs, all_options = self._merge(args, kwargs, options)
        return self._bound().tasks[self.task].apply(all_args, all_kwargs, **all_options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function here."""
        all_args, all_kwargs, _options = self._merge(args, kwargs, {})
        return self._bound().tasks[self.task](*all_args, **all_kwargs)

    def __repr__(self) -> str:
        shown = [repr(value) for value in self.args] + [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"{self.task}({', '.join(shown)})"

    def __reduce__(self) -> Any:
        return (Signature, (dict(self),))

    def _bound(self) -> Celeriac:
        if self._app is None:
            raise RuntimeError(
                f"the signature of {self.task!r} knows no app: make it with app.signature({self.task!r}, ...)"
            )
        return self._app

    def _merge(
        self, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None, options: Mapping[str, Any]
    ) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
        merged_options = {**self.options, **options}
        if self.immutable:
            return list(self.args), dict(self.kwargs), merged_options
        return [*(args or ()), *self.args], {**self.kwargs, **(kwargs or {})}, merged_options


def as_signatures(link: Any) -> list[dict[str, Any]]:
    """Return what `link=` was given, one signature or several, as plain dicts.

    Raises `TypeError` for what is no signature.
    """
    if not link:
        return []
    listed = [link] if isinstance(link, Mapping) else list(link)
    for item in listed:
        if not (isinstance(item, Mapping) and isinstance(item.get("task"), str)):
            raise TypeError(f"link and link_error take signatures such as task.s(...), not {item!r}")
    return [dict(item) for item in listed]


def _add(options: dict[str, Any], name: str, signature: Mapping[str, Any]) -> None:
    linked = as_signatures(options.get(name))
    if signature not in linked:
        linked.append(dict(signature))
    options[name] = linked


def _copied(options: dict[str, Any]) -> dict[str, Any]:
    """Copy options so far that a clone's links are its own."""
    return {name: list(value) if isinstance(value, list) else value for name, value in options.items()}

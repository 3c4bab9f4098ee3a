"""A call that has been written down but not made: what `link=` takes, what workflows consist of, and what travels in messages."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, cast, overload

from celeriac.client import left_out
from celeriac.client.canvas.nodes import listed
from celeriac.client.canvas.typed import In, Out, Sent
from celeriac.client.canvas.writing import plain
from celeriac.client.current import get_current_app
from celeriac.client.result import AsyncResult
from celeriac.client.result_base import ResultBase
from celeriac.client.stamps import together

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.canvas.stamping import StampingVisitor
    from celeriac.client.canvas.typed import Plain, Step, Values
    from celeriac.client.canvas.workflow import Workflow
    from celeriac.client.eager_result import EagerResult
    from celeriac.client.task import Task

S = TypeVar("S", bound="Signature")
X = TypeVar("X")
Y = TypeVar("Y")
Z = TypeVar("Z")
SignatureLike = Mapping[str, Any]


class Signature(dict[str, Any], Generic[In, Out, Sent]):
    """A task's name, arguments and options as a dict of Celery's layout, so that it can be sent as it is.

    It is data: the app is only remembered to make the call, and gets lost when the signature is copied as a dict.  Workflows are
    signatures, too; each holds its parts as a list holds its items: `clone()` makes a copy that shares none of them.

    To type checkers it is a `Signature[In, Out]`: what it takes from the step before it, and what it gives.

    Args:
        task: its name, or the task; or a dict that says all, as it comes from JSON.
        args, kwargs: arguments; those that are added to a call come before them.
        options: of `apply_async`; `more_options` as well.
        immutable: True: nothing is added to the arguments.
        app: makes the call; the current one if not given.
    """

    __slots__ = ("_app",)

    TYPES: ClassVar[dict[str, builtins.type[Signature]]] = {}
    """The classes of workflows, by what stands in `subtask_type`."""
    kind: ClassVar[str | None] = None
    """What stands in `subtask_type` of a class's own signatures."""

    def __init__(
        self,
        task: str | SignatureLike | Task[Any, Any] | None = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        type: Task[Any, Any] | None = None,
        subtask_type: str | None = None,
        immutable: bool = False,
        app: Celeriac | None = None,
        **more_options: Any,
    ) -> None:
        self._app = app
        task = type if task is None else task
        if isinstance(task, Mapping):
            self._take(task)
            return
        if task is not None and not isinstance(task, str):
            self._app = app or task.app
            task = task.name
        if not task:
            raise TypeError("a signature names its task: signature('proj.tasks.add', args=(2, 2)), or add.s(2, 2)")
        super().__init__(
            task=task,
            args=list(args or ()),
            kwargs=dict(kwargs or {}),
            options={**(options or {}), **more_options},
            subtask_type=subtask_type,
            immutable=immutable,
        )

    @classmethod
    def register_type(cls, name: str | None = None) -> Callable[[builtins.type[S]], builtins.type[S]]:
        """Make a class that of signatures with this `subtask_type`, in place of a former one; to be used as a decorator."""

        def register(kind: builtins.type[S]) -> builtins.type[S]:
            cls.TYPES[name or kind.__name__] = kind
            return kind

        return register

    @classmethod
    def from_dict(cls, d: SignatureLike, app: Celeriac | None = None) -> Signature:
        """Return the signature that a dict says, of the class that it says. Raises `TypeError` for what is none."""
        kind = cls.TYPES.get(d.get("subtask_type") or "", Signature) if isinstance(d, Mapping) else Signature
        if cls.kind and kind is Signature:
            d, kind = {**d, "task": f"celery.{cls.kind}", "subtask_type": cls.kind}, cls
        made = kind.__new__(kind)
        made._app = app
        made._take(d)
        return made

    def _take(self, d: SignatureLike) -> None:
        """Become what a dict says; its arguments and options are copied, not what is in them."""
        if not isinstance(d, Mapping) or not isinstance(d.get("task"), str):
            raise TypeError(f"a signature names its task: {d!r:.200}")
        self.update(d)
        self["args"] = list(d.get("args") or ())
        self["kwargs"] = dict(d.get("kwargs") or {})
        self["options"] = dict(d.get("options") or {})
        self.setdefault("subtask_type", None)
        self["immutable"] = bool(d.get("immutable"))
        self._take_parts()

    def _take_parts(self) -> None:
        """Make signatures of the dicts that are parts of this one."""

    # -- what it says -------------------------------------------------------------------------------------------------

    @property
    def task(self) -> str:
        """The task's name."""
        name: str = self["task"]
        return name

    name = task

    @property
    def args(self) -> list[Any]:
        """Positional arguments."""
        args: list[Any] = self["args"]
        return args

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments; those of a workflow hold its parts."""
        kwargs: dict[str, Any] = self["kwargs"]
        return kwargs

    @property
    def options(self) -> dict[str, Any]:
        """Options of the call."""
        options: dict[str, Any] = self["options"]
        return options

    @property
    def subtask_type(self) -> str | None:
        """What kind of workflow it is; None for a call of one task."""
        kind: str | None = self["subtask_type"]
        return kind

    @property
    def immutable(self) -> bool:
        """True when results of other tasks are not put before its arguments."""
        return bool(self["immutable"])

    @property
    def id(self) -> str | None:
        """The id that its result will have; None when it has not been frozen."""
        return self.options.get("task_id")

    @property
    def parent_id(self) -> str | None:
        """The id of the task that it says to come from."""
        return self.options.get("parent_id")

    @property
    def root_id(self) -> str | None:
        """The id of the first task of the workflow that it says to belong to."""
        return self.options.get("root_id")

    @property
    def app(self) -> Celeriac:
        """The app that makes the call."""
        return self._app or get_current_app()

    @property
    def type(self) -> Task[Any, Any]:
        """The task. Raises `NotRegistered` when it is not known here."""
        return self.app.tasks[self.task]

    # -- changing and copying -----------------------------------------------------------------------------------------

    @overload
    def set(self, *, immutable: None = None, **options: Any) -> Self: ...
    @overload
    def set(self, *, immutable: bool, **options: Any) -> Signature[Any, Out, Sent]: ...
    def set(self, *, immutable: bool | None = None, **options: Any) -> Any:
        """Change options of the call, and `immutable`; returns the signature itself."""
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Say whether results of other tasks are to be left out of its arguments."""
        self["immutable"] = immutable

    def clone(self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Self:
        """Return a copy with `args` put before its own, and `kwargs` and options over its own.

        An immutable signature takes no arguments.  The copy has parts of its own, down to their options and lists of arguments.
        """
        copied = type(self).__new__(type(self))
        copied._app = self._app
        copied.update(self)
        copied["args"], copied["kwargs"], copied["options"] = self._merge(args, kwargs, options)
        copied["options"] = {n: list(v) if isinstance(v, list) else v for n, v in copied["options"].items()}
        copied._clone_parts()
        return copied

    partial = clone

    def _clone_parts(self) -> None:
        """Put copies in the place of the parts that came along with the arguments."""

    def replace(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return a copy with these arguments or options in place of its own."""
        copied = self.clone()
        if args is not None:
            copied["args"] = list(args)
        if kwargs is not None:
            copied["kwargs"] = dict(kwargs)
        if options is not None:
            copied["options"] = dict(options)
        return copied

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: SignatureLike | None = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> ResultBase[Any]:
        """Give the call its id, so that its result is known before it is made; returns the result. Idempotent.

        A frozen signature is to be sent once.
        """
        from celeriac.client.calls import new_id

        given = {
            "root_id": root_id,
            "parent_id": parent_id,
            "group_id": group_id,
            "chord": chord,
            "group_index": group_index,
        }
        self.options.update({name: value for name, value in given.items() if value is not None})
        task_id = self.options.get("task_id") or _id or new_id()
        self.options["task_id"] = task_id
        return AsyncResult(task_id, app=self.app)

    # -- links --------------------------------------------------------------------------------------------------------

    def link(self, callback: SignatureLike) -> SignatureLike:
        """Call `callback` with the result when the task has succeeded; returns the callback."""
        return self.append_to_list_option("link", callback)

    def link_error(self, errback: SignatureLike) -> SignatureLike:
        """Call `errback` with the task's id when the task has failed; returns the errback."""
        return self.append_to_list_option("link_error", errback)

    def on_error(self, errback: SignatureLike) -> Self:
        """As `link_error`; returns the signature itself."""
        self.link_error(errback)
        return self

    def flatten_links(self) -> list[Signature]:
        """Return this signature, its callbacks, and theirs."""
        found: list[Signature] = [self]
        for callback in listed(self.options.get("link")):
            found += part(callback, self._app).flatten_links()
        return found

    def append_to_list_option(self, key: str, value: SignatureLike) -> SignatureLike:
        """Add a signature to those that are in an option already, unless it is among them; returns it."""
        own = listed(self.options.get(key))
        checked(value)
        if value not in own:
            own.append(value)
        self.options[key] = own
        return value

    def extend_list_option(self, key: str, value: Any) -> None:
        """Add signatures to those that are in an option already."""
        for one in listed(value):
            self.append_to_list_option(key, one)

    def stamp(self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any) -> Self:
        """Put stamps on this call, or on every call of a workflow, its callbacks and errbacks too; returns the signature itself.

        The parts of a workflow are copied first: what the caller keeps of them does not change.

        Args:
            visitor: says which stamps each call gets, besides those of `headers`.
            append_stamps: True: values under a name that is there already are put before the old ones, in a list; else they take their
                place.
            headers: stamps, the same for all: plain data, best a text, a number or a list of such.

        Raises `ArgumentError` for a name that belongs to the message protocol or is an option of calls, `TypeError` for a method of the
        visitor that returns no dict of stamps.
        """
        from celeriac.client.canvas.stamping import stamp

        stamp(self, visitor, append_stamps, headers)
        return self

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise left_out.explain(f"a {self.kind or 'signature'}", name, left_out.OF_SIGNATURES)

    # -- composing ----------------------------------------------------------------------------------------------------

    if TYPE_CHECKING:
        __reversed__: ClassVar[None]  # type: ignore[assignment]  # `Plain` tells other dicts by it

        def _takes(self, value: In, /) -> None: ...  # type: ignore[misc]  # see `In`
        def _gives(self) -> Out: ...
        def _adds(self) -> Out: ...
        def _sends(self) -> Sent: ...

    @overload  # type: ignore[override]  # a dict's would mix them up
    def __or__(self, other: Step[Out, X, Y]) -> Workflow[In, X, Y]: ...
    @overload
    def __or__(self, other: Plain) -> Workflow[In]: ...
    def __or__(self, other: Any) -> Any:
        """Return the chain of this and another signature; a group before another becomes a chord. Neither is changed."""
        from celeriac.client.canvas.combining import combine

        if not isinstance(other, Mapping):
            return NotImplemented
        return combine(self, other)

    @overload  # type: ignore[override]  # see __or__
    def __ror__(self: Step[list[Z], Any, Any], other: Signature[X, Values[Z], Any]) -> Workflow[X, Out, Sent]: ...
    @overload
    def __ror__(self, other: Plain) -> Workflow[Any, Out, Sent]: ...
    def __ror__(self, other: Any) -> Any:
        """As `__or__`, for a signature that is a plain dict."""
        if not isinstance(other, Mapping):
            return NotImplemented
        return part(other, self._app) | self

    __ior__ = __or__  # type: ignore[assignment]

    # -- calling ------------------------------------------------------------------------------------------------------

    def delay(self, *args: Any, **kwargs: Any) -> Sent:
        """Make the call, with these arguments added."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Sent:
        """Make the call, with arguments and options added, and return its result; errors as those of `Task.apply_async`."""
        all_args, all_kwargs, all_options = self._merge(args, kwargs, options)
        app = self.app
        if self.task in app.tasks:
            return cast("Sent", app.tasks[self.task].apply_async(all_args, all_kwargs, **all_options))
        return cast("Sent", app.send_task(self.task, all_args, all_kwargs, **all_options))

    async def adelay(self, *args: Any, **kwargs: Any) -> Sent:
        """As `delay`, without blocking the event loop."""
        return await self.aapply_async(args, kwargs)

    async def aapply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Sent:
        """As `apply_async`, without blocking the event loop."""
        all_args, all_kwargs, all_options = self._merge(args, kwargs, options)
        app = self.app
        if self.task in app.tasks:
            return cast("Sent", await app.tasks[self.task].aapply_async(all_args, all_kwargs, **all_options))
        return cast("Sent", await app.asend_task(self.task, all_args, all_kwargs, **all_options))

    def apply(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> EagerResult[Out]:
        """Run the task here and now."""
        all_args, all_kwargs, all_options = self._merge(args, kwargs, options)
        return self.type.apply(all_args, all_kwargs, **all_options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function here."""
        all_args, all_kwargs, _options = self._merge(args, kwargs, {})
        return self.type(*all_args, **all_kwargs)

    def __invert__(self) -> Out:
        """Make the call and wait for its value."""
        sent: Any = self.apply_async()
        return cast("Out", sent.get())

    # -- showing and copying as data ----------------------------------------------------------------------------------

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """Return the text of the call with these arguments added."""
        all_args, all_kwargs, _options = self._merge(args, kwargs, {}, force=True)
        shown = [repr(value) for value in all_args] + [f"{name}={value!r}" for name, value in all_kwargs.items()]
        return f"{self.task}({', '.join(shown)})"

    def __repr__(self) -> str:
        return self.reprcall()

    def __copy__(self) -> Self:
        return self.clone()

    def __reduce__(self) -> Any:
        return signature, (dict(self),)

    def _merge(
        self,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        options: Mapping[str, Any],
        *,
        force: bool = False,
    ) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
        merged_options = together(self.options, options)
        if self.immutable and not force:
            return list(self.args), dict(self.kwargs), merged_options
        return [*(args or ()), *self.args], {**self.kwargs, **(kwargs or {})}, merged_options


def signature(task: Any, *args: Any, app: Celeriac | None = None, **options: Any) -> Signature:
    """Return the signature of a call: `signature("name", args=(2, 2))`, or the one that a dict says, bound to an app.

    Of what is a signature already it returns a copy.  Options and further arguments are those of `Signature`, or of its `clone`.
    """
    if not isinstance(task, Mapping):
        return Signature(task, *args, **{**options, "app": app})
    known = task if isinstance(task, Signature) else Signature.from_dict(task, app)
    cloned = known.clone(*args, **options)
    cloned._app = app or known._app
    return cloned


def maybe_signature(d: Any, app: Celeriac | None = None, clone: bool = False) -> Any:
    """Return a signature for what may be one already, or a dict that came from JSON; anything else as it is."""
    if not isinstance(d, Mapping):
        return d
    known = part(d, app)
    return known.clone() if clone else known


def part(value: Any, app: Celeriac | None = None, what: str = "a workflow consists of signatures") -> Signature:
    """Return a part of a workflow: a signature itself, or the one that a dict says. Raises `TypeError` for what is neither."""
    if isinstance(value, Signature):
        return value
    return Signature.from_dict(checked(value, what), app)


def checked(value: Any, what: str = "link and link_error take signatures") -> SignatureLike:
    """Return a signature, or a dict that is one. Raises `TypeError` that names what is neither."""
    if isinstance(value, Mapping) and isinstance(value.get("task"), str):
        return value
    hint = f": write {value.name}.s(...)" if hasattr(value, "apply_async") and hasattr(value, "name") else ""
    raise TypeError(f"{what} such as task.s(...), not {value!r:.200}{hint}")


def as_signatures(link: Any) -> list[dict[str, Any]]:
    """Return what `link=` was given, one signature or several, as plain dicts.

    Raises `TypeError` for what is no signature.
    """
    return [plain(checked(item)) for item in listed(link)]

"""`group`: tasks side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from celeriac.client.canvas.signature import Signature, SignatureLike, part
from celeriac.client.canvas.typed import In, Out, Sent
from celeriac.client.canvas.workflow import Workflow

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.canvas.typed import Step, Values
    from celeriac.client.group_result import GroupResult
    from celeriac.client.result import AsyncResult

A = TypeVar("A")
V = TypeVar("V")

SHOWN_MEMBERS = 20


@Signature.register_type("group")
class group(Workflow[In, Out, Sent]):  # noqa: N801 - Celery's name
    """Tasks that run side by side; the result is a `GroupResult` with theirs, in this order.

    Groups among them give way to their members.

    Args:
        tasks: signatures, or one list (or generator) of them, or one group.
        options: of `apply_async`, for each member.
    """

    __slots__ = ()
    kind = "group"

    @overload
    def __init__(
        self: group[A, Values[V], GroupResult[V]],
        *tasks: Step[A, V, AsyncResult[V]],
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: group[A, Values[V], GroupResult[V]],
        tasks: Iterable[Step[A, V, AsyncResult[V]]],
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: group[A, Values[V], GroupResult[V]],
        *tasks: group[A, Values[V], Any],
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: group[A, Values[Any], GroupResult[Any]],
        *tasks: Step[A, Any, Any],
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: group[A, Values[Any], GroupResult[Any]],
        tasks: Iterable[Step[A, Any, Any]],
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: group[Any, Values[Any], GroupResult[Any]],
        *tasks: SignatureLike | Iterable[SignatureLike],
        **options: Any,
    ) -> None: ...
    def __init__(self: group[Any, Any, Any], *tasks: Any, app: Celeriac | None = None, **options: Any) -> None:
        members = members_of(tasks[0] if len(tasks) == 1 else tasks, app)
        self.update(
            task="celery.group",
            args=[],
            kwargs={"tasks": members},
            options=options,
            subtask_type="group",
            immutable=False,
        )
        self._app = app or next((member._app for member in members if member._app is not None), None)

    if TYPE_CHECKING:

        def _adds(self: group[Any, Values[V], Any]) -> V: ...

    @property
    def tasks(self) -> list[Signature]:
        """The members."""
        members: list[Signature] = self.kwargs["tasks"]
        return members

    @tasks.setter
    def tasks(self, tasks: Sequence[SignatureLike]) -> None:
        self.kwargs["tasks"] = tasks
        self._take_parts()

    def set_immutable(self, immutable: bool) -> None:
        """Say of each member whether results of other tasks are to be left out of its arguments."""
        self._clone_parts()
        for member in self.tasks:
            member.set_immutable(immutable)

    def link(self, callback: SignatureLike) -> SignatureLike:
        """Call `callback` when the first member has succeeded, without its result, as Celery does; returns the callback.

        What is to run after all members is their chord: `group(...) | callback`.
        """
        if not self.tasks:
            return callback
        linked = part(callback, self._app).clone()
        linked.set_immutable(True)
        self.tasks[0] = self.tasks[0].clone()
        return self.tasks[0].link(linked)

    def link_error(self, errback: SignatureLike) -> SignatureLike:
        """Call `errback` with the id of each member that has failed; returns the errback."""
        self._clone_parts()
        for member in self.tasks:
            member.link_error(errback)
        return errback

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> Self:
        """Have the members start one after the other: `start` seconds from the call, then in steps, up to `stop`; returns itself."""
        self._clone_parts()
        wait_s = float(start)
        for member in self.tasks:
            member.set(countdown=wait_s)
            if stop is None or wait_s + step <= stop:
                wait_s += step
        return self

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Sent:
        """As `Workflow.apply_async`, for each member; raises `TypeError` for links, which belong to single members."""
        _refuse_links(options)
        return super().apply_async(args, kwargs, **options)

    async def aapply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Sent:
        """As `apply_async`, without blocking the event loop."""
        _refuse_links(options)
        return await super().aapply_async(args, kwargs, **options)

    def __call__(self, *args: Any, **options: Any) -> Sent:
        """Send the group with these arguments added to those of each member; what has a name is an option."""
        return self.apply_async(args, **options)

    def _take_parts(self) -> None:
        self._parts("tasks")

    def _clone_parts(self) -> None:
        self.kwargs["tasks"] = [member.clone() for member in self.tasks]

    def __len__(self) -> int:
        return len(self.tasks)

    def __repr__(self) -> str:
        return f"group({shown(self.tasks)})"


def members_of(tasks: Any, app: Celeriac | None) -> list[Signature]:
    """Return what a group, or the header of a chord, consists of. Raises `TypeError`."""
    if isinstance(tasks, Mapping):
        one = part(tasks, app, "a group's members are signatures")
        return list(one.tasks) if isinstance(one, group) and one._is_bare() else [one]
    if not hasattr(tasks, "__iter__"):
        raise TypeError(f"a group's members are signatures such as task.s(...), not {tasks!r:.200}")
    return [part(task, app, "a group's members are signatures") for task in tasks]


def shown(members: Sequence[Signature]) -> str:
    """Return the text of a list of signatures; the rest of a long one is only counted."""
    if not members:
        return "<empty>"
    rest = [f"... {len(members) - SHOWN_MEMBERS} more"] if len(members) > SHOWN_MEMBERS else []
    return f"[{', '.join([*(repr(member) for member in members[:SHOWN_MEMBERS]), *rest])}]"


def _refuse_links(options: Mapping[str, Any]) -> None:
    if options.get("link"):
        raise TypeError("a group has no link: what is to run after all members is their chord, group(...) | callback")
    if options.get("link_error"):
        raise TypeError("a group has no link_error: give it to single members, or to all by group.link_error(errback)")

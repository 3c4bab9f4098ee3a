"""`chord`: a group, and a task that gets the list of its results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Never, TypeAlias, TypeVar, overload

from celeriac.client.canvas.chain import chain
from celeriac.client.canvas.group import group, members_of, shown
from celeriac.client.canvas.nodes import ENOUGH
from celeriac.client.canvas.reading import checked_min_successes
from celeriac.client.canvas.signature import Signature, SignatureLike, part
from celeriac.client.canvas.typed import In, Out, Sent
from celeriac.client.canvas.workflow import Workflow

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.canvas.typed import Bodiless, Member, Plain, Step
    from celeriac.client.result_base import ResultBase

A = TypeVar("A")
B = TypeVar("B")
S = TypeVar("S")
V = TypeVar("V")
Header: TypeAlias = "Member[A, V] | Iterable[Member[A, V]]"


@Signature.register_type("chord")
class chord(Workflow[In, Out, Sent]):  # noqa: N801 - Celery's name
    """Tasks that run side by side, and one that is called with the list of their results when all have ended.

    Args:
        header: signatures, as for `group`.
        body: the signature that is called then; it can also be given to the call, `chord(header)(body)`.
        args, kwargs: added to those of each member of the header.
        min_successes: so many successes are enough: failed members are left out of the list then.
        options: of `apply_async`.
    """

    __slots__ = ()
    kind = "chord"

    @overload
    def __init__(
        self: chord[A, B, S],
        header: Header[A, V],
        body: Signature[list[V], B, S],
        task: str = ...,
        args: Sequence[Any] | None = ...,
        kwargs: Mapping[str, Any] | None = ...,
        app: Celeriac | None = ...,
        *,
        min_successes: int | None = ...,
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: chord[A, B, S],
        header: Header[A, V],
        body: Step[list[V], B, S],
        task: str = ...,
        args: Sequence[Any] | None = ...,
        kwargs: Mapping[str, Any] | None = ...,
        app: Celeriac | None = ...,
        *,
        min_successes: int | None = ...,
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: chord[Any, B, S],
        header: Header[Never, V],
        body: Signature[list[V], B, S],
        task: str = ...,
        args: Sequence[Any] | None = ...,
        kwargs: Mapping[str, Any] | None = ...,
        app: Celeriac | None = ...,
        *,
        min_successes: int | None = ...,
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: chord[Any, B, S],
        header: Header[Never, V],
        body: Step[list[V], B, S],
        task: str = ...,
        args: Sequence[Any] | None = ...,
        kwargs: Mapping[str, Any] | None = ...,
        app: Celeriac | None = ...,
        *,
        min_successes: int | None = ...,
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: chord[Any, Any, Bodiless[V]],
        header: Header[Never, V],
        body: None = ...,
        task: str = ...,
        args: Sequence[Any] | None = ...,
        kwargs: Mapping[str, Any] | None = ...,
        app: Celeriac | None = ...,
        *,
        min_successes: int | None = ...,
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: chord[Any, Any, Any],
        header: Header[Never, Any],
        body: Plain,
        task: str = ...,
        args: Sequence[Any] | None = ...,
        kwargs: Mapping[str, Any] | None = ...,
        app: Celeriac | None = ...,
        *,
        min_successes: int | None = ...,
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: chord[Any, Any, Any],
        header: Plain | Iterable[Plain],
        body: SignatureLike | None = ...,
        task: str = ...,
        args: Sequence[Any] | None = ...,
        kwargs: Mapping[str, Any] | None = ...,
        app: Celeriac | None = ...,
        *,
        min_successes: int | None = ...,
        **options: Any,
    ) -> None: ...
    def __init__(
        self: chord[Any, Any, Any],
        header: Any,
        body: Any = None,
        task: str = "celery.chord",
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        app: Celeriac | None = None,
        *,
        min_successes: int | None = None,
        **options: Any,
    ) -> None:
        members = members_of(header, app)
        if checked_min_successes(min_successes) is not None:
            options[ENOUGH] = min_successes
        self.update(
            task=task,
            args=list(args or ()),
            kwargs={"kwargs": dict(kwargs or {}), "header": members, "body": None},
            options=options,
            subtask_type="chord",
            immutable=False,
        )
        self._app = app
        if body is not None:
            self.body = part(body, app, "the body of a chord is a signature")
        if self._app is None:
            self._app = next(
                (one._app for one in (*members, self.body) if one is not None and one._app is not None), None
            )

    @property
    def tasks(self) -> list[Signature]:
        """The members of the header."""
        header: list[Signature] | group = self.kwargs["header"]
        return header.tasks if isinstance(header, group) else header

    @tasks.setter
    def tasks(self, tasks: Any) -> None:
        self.kwargs["header"] = members_of(tasks, self._app)

    @property
    def body(self) -> Signature | None:
        """What is called with the results; None when it is still to be given."""
        body: Signature | None = self.kwargs["body"]
        return body

    @body.setter
    def body(self, body: SignatureLike | None) -> None:
        self.kwargs["body"] = None if body is None else part(body, self._app, "the body of a chord is a signature")

    def set_immutable(self, immutable: bool) -> None:
        """Say of each member of the header whether results of other tasks are to be left out of its arguments."""
        self.kwargs["header"] = [member.clone() for member in self.tasks]
        for member in self.tasks:
            member.set_immutable(immutable)

    @overload
    def __call__(self: chord[Any, Any, Bodiless[V]], body: Step[list[V], Any, S], **options: Any) -> S: ...
    @overload
    def __call__(self: chord[Any, Any, ResultBase[Any]], body: Step[Any, Any, S], **options: Any) -> S: ...
    @overload
    def __call__(self, body: Plain, **options: Any) -> Any: ...
    @overload
    def __call__(self, body: None = None, **options: Any) -> Sent: ...
    def __call__(self, body: Any = None, **options: Any) -> Any:
        """Send the chord, with this body if one is given; what has a name is an option."""
        return self.apply_async(body=body, **options)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        body: SignatureLike | None = None,
        interval: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Any:
        """As `Workflow.apply_async`; `body` takes the place of the chord's own.

        `interval` and `max_retries` are accepted for Celery's sake: nothing is polled.
        """
        return super(chord, self._with_body(body)).apply_async(args, kwargs, **options)

    async def aapply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        body: SignatureLike | None = None,
        interval: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Any:
        """As `apply_async`, without blocking the event loop."""
        return await super(chord, self._with_body(body)).aapply_async(args, kwargs, **options)

    def followed_by(self, step: Signature) -> chord:
        """Return a chord like this one whose body is followed by a step."""
        assert self.body is not None
        return self._with_body(self.body | step)

    def _with_body(self, body: SignatureLike | None) -> chord:
        if body is None:
            return self
        made = chord.__new__(chord)
        made._app = self._app
        made.update(self, args=list(self.args), options=dict(self.options))
        header = self.kwargs["header"]
        made["kwargs"] = {
            **self.kwargs,
            "header": list(header) if isinstance(header, list) else header,
            "body": part(body, self._app, "the body of a chord is a signature"),
        }
        return made

    def _take_parts(self) -> None:
        header = self.kwargs.get("header")
        if isinstance(header, Mapping) and header.get("subtask_type") == "group":
            self.kwargs["header"] = part(header, self._app)
        else:
            self._parts("header")
        self.body = self.kwargs.get("body")
        self.kwargs.setdefault("kwargs", {})

    def _clone_parts(self) -> None:
        header = self.kwargs["header"]
        self.kwargs["header"] = (
            header.clone() if isinstance(header, group) else [member.clone() for member in self.tasks]
        )
        if self.body is not None:
            self.kwargs["body"] = self.body.clone()

    def __repr__(self) -> str:
        members = shown(self.tasks) if self.tasks else "[]"
        if self.body is None:
            return f"<chord without body: {members}>"
        steps = self.body.tasks if isinstance(self.body, chain) else [self.body]
        if not steps or isinstance(steps[0], Workflow):
            return f"%({self.body!r})({members})"
        first = steps[0].reprcall(_Shown(members))
        return f"%{first}" if len(steps) == 1 else f"%({' | '.join([first, *(repr(step) for step in steps[1:])])})"


class _Shown:
    """A text that is its own `repr`."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


_chord = chord
"""Celery's other name of the class."""

"""`chain`: tasks one after the other, each with the result of the one before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from celeriac.client.canvas.combining import add_step
from celeriac.client.canvas.signature import Signature, SignatureLike, part
from celeriac.client.canvas.typed import In, Out, Sent
from celeriac.client.canvas.workflow import Workflow

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.canvas.typed import Plain, Step, Values

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")
G = TypeVar("G")
S = TypeVar("S")
V = TypeVar("V")


@Signature.register_type("chain")
class chain(Workflow[In, Out, Sent]):  # noqa: N801 - Celery's name
    """Tasks that run one after the other; each gets the result of the one before as its first argument, unless it is immutable.

    A group among them is followed by its next step once, with the list of its results.

    Args:
        tasks: signatures, or one list of them; chains among them are taken for their steps.
        options: of `apply_async`.
    """

    __slots__ = ()
    kind = "chain"

    @overload
    def __init__(self: chain[A, B, S], a: Step[A, B, S], **options: Any) -> None: ...
    @overload
    def __init__(
        self: chain[A, C, S],
        a: Step[A, B, Any],
        b: Step[B, C, S],
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: chain[A, D, S],
        a: Step[A, B, Any],
        b: Step[B, C, Any],
        c: Step[C, D, S],
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: chain[A, E, S],
        a: Step[A, B, Any],
        b: Step[B, C, Any],
        c: Step[C, D, Any],
        d: Step[D, E, S],
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: chain[A, F, S],
        a: Step[A, B, Any],
        b: Step[B, C, Any],
        c: Step[C, D, Any],
        d: Step[D, E, Any],
        e: Step[E, F, S],
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: chain[A, G, S],
        a: Step[A, B, Any],
        b: Step[B, C, Any],
        c: Step[C, D, Any],
        d: Step[D, E, Any],
        e: Step[E, F, Any],
        f: Step[F, G, S],
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: chain[A, C, S],
        a: Step[A, Values[V], Any],
        b: Signature[list[V], C, S],
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: chain[A, D, S],
        a: Step[A, Values[V], Any],
        b: Signature[list[V], C, Any],
        c: Step[C, D, S],
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: chain[A, D, S],
        a: Step[A, B, Any],
        b: Step[B, Values[V], Any],
        c: Signature[list[V], D, S],
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: chain[A, E, S],
        a: Step[A, Values[V], Any],
        b: Signature[list[V], C, Any],
        c: Step[C, D, Any],
        d: Step[D, E, S],
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: chain[A, E, S],
        a: Step[A, B, Any],
        b: Step[B, Values[V], Any],
        c: Signature[list[V], D, Any],
        d: Step[D, E, S],
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: chain[A, E, S],
        a: Step[A, B, Any],
        b: Step[B, C, Any],
        c: Step[C, Values[V], Any],
        d: Signature[list[V], E, S],
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: chain[Any, Any, Any],
        a: Any,
        b: Any,
        c: Any,
        d: Any,
        e: Any,
        f: Any,
        g: Any,
        *rest: Any,
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(self: chain[Any, Any, Any], tasks: Iterable[SignatureLike] = ..., **options: Any) -> None: ...
    @overload
    def __init__(self: chain[Any, Any, Any], a: Plain, *rest: Any, **options: Any) -> None: ...
    @overload
    def __init__(self: chain[Any, Any, Any], a: Any, b: Plain, *rest: Any, **options: Any) -> None: ...
    @overload
    def __init__(self: chain[Any, Any, Any], a: Any, b: Any, c: Plain, *rest: Any, **options: Any) -> None: ...
    def __init__(self: chain[Any, Any, Any], *tasks: Any, app: Celeriac | None = None, **options: Any) -> None:
        given = tasks[0] if len(tasks) == 1 and not isinstance(tasks[0], Mapping) else tasks
        if not hasattr(given, "__iter__"):
            raise TypeError(f"a chain's steps are signatures such as task.s(...), not {given!r:.200}")
        steps: list[Signature] = []
        for task in given:
            add_step(steps, part(task, app, "a chain's steps are signatures"))
        self._fill(steps, app, options)

    @classmethod
    def of(cls, steps: list[Signature], app: Celeriac | None = None) -> chain:
        """Return the chain of steps that need not be looked at any more."""
        made = cls.__new__(cls)
        made._fill(steps, app, {})
        return made

    def _fill(self, steps: list[Signature], app: Celeriac | None, options: Mapping[str, Any]) -> None:
        self.update(
            task="celery.chain",
            args=[],
            kwargs={"tasks": steps},
            options=dict(options),
            subtask_type="chain",
            immutable=False,
        )
        self._app = app or next((step._app for step in steps if step._app is not None), None)

    @property
    def tasks(self) -> list[Signature]:
        """The steps."""
        steps: list[Signature] = self.kwargs["tasks"]
        return steps

    @tasks.setter
    def tasks(self, tasks: Sequence[SignatureLike]) -> None:
        self.kwargs["tasks"] = tasks
        self._take_parts()

    def unchain_tasks(self) -> list[Signature]:
        """Return copies of the steps, with the links and errbacks of the chain where they belong."""
        steps = [step.clone() for step in self.tasks]
        if steps:
            steps[-1].extend_list_option("link", self.options.get("link"))
        for step in steps:
            step.extend_list_option("link_error", self.options.get("link_error"))
        return steps

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Sent:
        """As `Workflow.apply_async`; an empty chain does nothing and returns None."""
        return super().apply_async(args, kwargs, **options) if self.tasks else cast("Sent", None)

    async def aapply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Sent:
        """As `apply_async`, without blocking the event loop."""
        return await super().aapply_async(args, kwargs, **options) if self.tasks else cast("Sent", None)

    def _take_parts(self) -> None:
        self._parts("tasks")

    def _clone_parts(self) -> None:
        self.kwargs["tasks"] = [step.clone() for step in self.tasks]

    def _become(self, written: SignatureLike) -> None:
        if written["subtask_type"] != "chain":  # all has become one step
            written = {"kwargs": {"tasks": [written]}, "options": {}}
        super()._become(written)

    def __repr__(self) -> str:
        return " | ".join(repr(step) for step in self.tasks) or "<chain: empty>"


_chain = chain
"""Celery's other name of the class."""

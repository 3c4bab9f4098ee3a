"""`xmap`, `xstarmap` and `chunks`: one task that calls another for each item of a list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celeriac.client.canvas.chunking import CHUNKS, MAP, STARMAP, chunks_of
from celeriac.client.canvas.group import group as group_of
from celeriac.client.canvas.signature import Signature, SignatureLike, part

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac


class _Mapped(Signature):
    """A call that calls a task for each item."""

    __slots__ = ()
    _name = ""
    _shown_call = ""

    def __init__(self, task: SignatureLike, it: Iterable[Any], *, app: Celeriac | None = None, **options: Any) -> None:
        mapped = part(task, app, f"{type(self).__name__} takes a signature")
        if mapped.args or mapped.kwargs:
            raise TypeError(f"{mapped!r}: the arguments come from the list, so the signature must have none")
        super().__init__(
            self._name, (), {"task": mapped, "it": list(it)}, options, immutable=True, app=app or mapped._app
        )

    def __repr__(self) -> str:
        return f"[{self.kwargs['task'].task}({self._shown_call}) for x in {self.kwargs['it']!r}]"


@Signature.register_type("xmap")
class xmap(_Mapped):  # noqa: N801 - Celery's name
    """One task that calls another with each item: `xmap(add_one.s(), [1, 2])` gives the list of what it returns."""

    __slots__ = ()
    _name = MAP
    _shown_call = "x"


@Signature.register_type("xstarmap")
class xstarmap(_Mapped):  # noqa: N801 - Celery's name
    """As `xmap`, for items that are lists of arguments."""

    __slots__ = ()
    _name = STARMAP
    _shown_call = "*x"


@Signature.register_type("chunks")
class chunks(Signature):  # noqa: N801 - Celery's name
    """The calls of a long list, in a group of tasks that make `n` of them each: `chunks(add.s(), [(1, 2), ...], 100)`.

    Args:
        task: a signature without arguments.
        it: items, each a list of arguments.
        n: how many of them one task calls.
        options: of `apply_async`, for each of the tasks.
    """

    __slots__ = ()

    def __init__(
        self, task: SignatureLike, it: Iterable[Any], n: int, *, app: Celeriac | None = None, **options: Any
    ) -> None:
        mapped = xstarmap(task, it, app=app)
        super().__init__(CHUNKS, (), {**mapped.kwargs, "n": n}, options, immutable=True, app=mapped._app)

    @classmethod
    def apply_chunks(cls, task: SignatureLike, it: Iterable[Any], n: int, app: Celeriac | None = None) -> Any:
        """Send the group that `chunks` with these arguments is."""
        return cls(task, it, n, app=app).apply_async()

    def group(self) -> group_of:
        """Return the group of its tasks."""
        task, items, size = (self.kwargs[name] for name in ("task", "it", "n"))
        return group_of(
            [xstarmap(task, piece, app=self._app) for piece in chunks_of(items, size)], app=self._app, **self.options
        )

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Send the group; returns its `GroupResult`."""
        return self.group().apply_async(args, kwargs, **options)

    async def aapply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """As `apply_async`, without blocking the event loop."""
        return await self.group().aapply_async(args, kwargs, **options)

    def __call__(self, **options: Any) -> Any:
        """As `apply_async`."""
        return self.apply_async(**options)

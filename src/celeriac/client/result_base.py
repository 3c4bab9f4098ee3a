"""What every result can be asked, be it of one task or of many: where it comes from, and what came from it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from celeriac import exceptions
from celeriac.client import left_out, result_tuples
from celeriac.client.result_graph import DependencyGraph
from celeriac.exceptions import IncompleteStream

V = TypeVar("V")

Callback = Callable[[str, Any], object]
"""Takes an id and the value."""
Recipe = tuple[Callable[..., "ResultBase[Any]"], tuple[Any, ...]]
"""What makes a result anew, all but its parent."""


class ResultBase(Generic[V]):
    """The base of all results. `parent` is the result that this one waits for: of the step before it, or of a chord's header."""

    __slots__ = ("__weakref__", "id", "parent")

    id: str
    """A task's id, or a group's; a `ResultSet` has none."""
    parent: Any
    """A result, or None; type checkers leave it to the program, which knows what came before."""

    TimeoutError = exceptions.TimeoutError

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise left_out.explain("a result", name, left_out.OF_RESULTS)

    def get(
        self,
        timeout: float | None = None,
        *,
        callback: Callback | None = None,
        disable_sync_subtasks: bool = True,
    ) -> V | Any:
        """Wait for the value; see the subclasses."""
        raise NotImplementedError

    async def aget(self, timeout: float | None = None, propagate: bool = True) -> V:
        """As `get`, without blocking the event loop."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Tell whether all of it has ended."""
        raise NotImplementedError

    def forget(self) -> None:
        """Delete what is stored; see the subclasses."""
        raise NotImplementedError

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: str | int | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Have no worker run it; see the subclasses."""
        raise NotImplementedError

    @property
    def children(self) -> Sequence[ResultBase[Any]]:
        """Results of what came from it: of what a task has sent, or the members of a group."""
        raise NotImplementedError

    @property
    def may_fail(self) -> bool:
        """Tell whether what comes after it goes on although something of it failed."""
        return False

    # -- where it comes from ------------------------------------------------------------------------------------------

    def ancestors(self) -> Iterator[ResultBase[Any]]:
        """Go from parent to parent, the nearest first."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    @property
    def root(self) -> ResultBase[Any]:
        """The first of the parents; itself when it has none."""
        first: ResultBase[Any] = self
        for node in self.ancestors():
            first = node
        return first

    def as_list(self) -> list[str]:
        """Return the ids of this result and of its parents."""
        return [self.id, *(node.id for node in self.ancestors())]

    def as_tuple(self) -> tuple[Any, Any]:
        """Return Celery's tuple form, which travels as plain data; `result_from_tuple` reads it."""
        return result_tuples.as_tuple(self)

    def member_tuples(self) -> list[tuple[Any, Any]] | None:
        """Return the tuples of a group's members; None for a task."""
        return None

    # -- what came from it --------------------------------------------------------------------------------------------

    def iterdeps(self, intermediate: bool = False) -> Iterator[tuple[ResultBase[Any] | None, ResultBase[Any]]]:
        """Walk over this result and all that come from it, level by level, each with the one that it came from.

        Raises `IncompleteStream` at one that is not ready, unless `intermediate`.  Blocking: it asks the backend.
        """
        seen: set[str] = set()
        to_visit: deque[tuple[ResultBase[Any] | None, ResultBase[Any]]] = deque([(None, self)])
        while to_visit:
            parent, node = to_visit.popleft()
            yield parent, node
            if node.id in seen:
                continue  # what came from it was given before
            seen.add(node.id)
            if node.ready():
                to_visit.extend((node, child) for child in node.children)
            elif not intermediate:
                raise IncompleteStream(f"{node!r} has not ended, so it is not known what will have come from it")

    def collect(self, intermediate: bool = False, **options: Any) -> Iterator[tuple[ResultBase[Any], Any]]:
        """Wait for this result and for all that come from it, and give each with its value.

        `options` are those of `get`; a timeout is for each.  Raises what `get` raises.
        """
        for _, node in self.iterdeps(intermediate):
            yield node, node.get(**options)

    def get_leaf(self) -> Any:
        """Return the value of the last result that came from this one. Waits, and raises, as `collect`."""
        return [value for _, value in self.collect()][-1]

    @property
    def graph(self) -> DependencyGraph[ResultBase[Any]]:
        """This result and all that came from it. Raises `IncompleteStream` where something has not ended yet."""
        return self.build_graph()

    def build_graph(self, intermediate: bool = False, formatter: Any = None) -> DependencyGraph[ResultBase[Any]]:
        """As `graph`; with `intermediate` as far as it is known by now. `formatter` is accepted for Celery's sake."""
        graph = DependencyGraph[ResultBase[Any]]()
        for parent, node in self.iterdeps(intermediate):
            graph.add_arc(node)
            if parent is not None:
                graph.add_edge(parent, node)
        return graph

    # -- being one among others ---------------------------------------------------------------------------------------

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return self.id

    def __reduce__(self) -> Any:
        # The line of parents as a list: pickling one inside the other would end where calls may not be deeper.
        return _remade, ([node._recipe() for node in reversed([self, *self.ancestors()])],)

    def _recipe(self) -> Recipe:
        raise NotImplementedError


def _remade(recipes: list[Recipe]) -> ResultBase[Any] | None:
    result: ResultBase[Any] | None = None
    for make, args in recipes:
        made = make(*args)
        made.parent = result
        result = made
    return result

"""What depends on what: the graph of a result and of all that came from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from typing import Any, Generic, Protocol, TypeVar

N = TypeVar("N")


class Writable(Protocol):
    """An open text file, or something like it."""

    def write(self, text: str, /) -> Any: ...


class DependencyGraph(Generic[N]):
    """A directed graph without cycles, as a mapping: node -> nodes that came from it. Nodes are compared and hashed."""

    def __init__(self, it: Iterable[tuple[N, Iterable[N]]] | None = None) -> None:
        """Take pairs of a node and the nodes that came from it."""
        self._adjacent: dict[N, dict[N, None]] = {}
        self.update(it or ())

    def add_arc(self, node: N) -> None:
        """Add a node, if it is not there."""
        self._adjacent.setdefault(node, {})

    def add_edge(self, parent: N, child: N) -> None:
        """Say that `child` came from `parent`. Idempotent."""
        self.add_arc(child)
        self._adjacent.setdefault(parent, {})[child] = None

    def connect(self, graph: DependencyGraph[N]) -> None:
        """Add another graph."""
        self.update(graph.items())

    def update(self, it: Iterable[tuple[N, Iterable[N]]]) -> None:
        """Add pairs of a node and the nodes that came from it."""
        for node, children in it:
            self.add_arc(node)
            for child in children:
                self.add_edge(node, child)

    def topsort(self) -> list[N]:
        """Return all nodes, each after those that came from it. Raises `graphlib.CycleError`."""
        return list(TopologicalSorter(self._adjacent).static_order())

    def valency_of(self, node: N) -> int:
        """Return how many nodes came from this one, by whatever way."""
        found: dict[N, None] = {}
        to_visit = list(self._adjacent.get(node, ()))
        while to_visit:
            child = to_visit.pop()
            if child not in found:
                found[child] = None
                to_visit += self._adjacent.get(child, ())
        return len(found)

    def edges(self) -> Iterator[N]:
        """Return the nodes that something came from."""
        return (node for node, children in self._adjacent.items() if children)

    def items(self) -> Iterator[tuple[N, list[N]]]:
        """Return nodes with the nodes that came from each."""
        return ((node, list(children)) for node, children in self._adjacent.items())

    iteritems = items

    def to_dot(self, fh: Writable, formatter: Any = None) -> None:
        """Write the graph for Graphviz. `formatter` is accepted for Celery's sake."""
        fh.write("digraph dependencies {\n    node [shape=box, style=rounded]\n")
        for node, children in self._adjacent.items():
            fh.write(f"    {_quoted(node)}\n")
            for child in children:
                fh.write(f"    {_quoted(node)} -> {_quoted(child)}\n")
        fh.write("}\n")

    def __getitem__(self, node: N) -> list[N]:
        return list(self._adjacent[node])

    def __contains__(self, node: object) -> bool:
        return node in self._adjacent

    def __iter__(self) -> Iterator[N]:
        return iter(self._adjacent)

    def __len__(self) -> int:
        return len(self._adjacent)

    def __repr__(self) -> str:
        """Show a tree of ids, each with the number of nodes that came from it."""
        came_from_others = {child for children in self._adjacent.values() for child in children}
        lines: list[str] = []
        to_show = [(0, node) for node in reversed(self._adjacent) if node not in came_from_others]
        while to_show:
            level, node = to_show.pop()
            lines.append(f"{'     ' * level}{node}({self.valency_of(node)})")
            to_show += [(level + 1, child) for child in reversed(self._adjacent[node])]
        return "\n".join(lines)


def _quoted(node: object) -> str:
    text = str(node).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'

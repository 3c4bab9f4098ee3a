"""What came of a result: walks, graphs."""

from __future__ import annotations

import io

import pytest

from celeriac import Celeriac
from celeriac.exceptions import (
    IncompleteStream,
)
from celeriac.result import (
    DependencyGraph,
)
from tests.client.groups import group_of
from tests.client.recording import RecordingBackend


def test_what_came_of_a_result(app: Celeriac, backend: RecordingBackend) -> None:
    backend.put(
        "r", "SUCCESS", 0, children=[[["c", None], None], [["g", None], [[["a", None], None], [["b", None], None]]]]
    )
    for value, one in enumerate("abc", 1):
        backend.put(one, "SUCCESS", value)
    result = app.AsyncResult("r")
    assert [(node.id, value) for node, value in result.collect()] == [
        ("r", 0), ("c", 3), ("g", [1, 2]), ("a", 1), ("b", 2),
    ]  # fmt: skip
    assert result.get_leaf() == 2
    graph = result.graph
    group = group_of(app, "a", "b")
    assert {node.id: [child.id for child in children] for node, children in graph.items()} == {
        "r": ["c", "g"], "c": [], "g": ["a", "b"], "a": [], "b": [],
    }  # fmt: skip
    assert [node.id for node in graph.topsort()][-1] == "r"
    assert [node.id for node in graph.edges()] == ["r", "g"]
    assert (len(graph), graph.valency_of(result), group in graph, graph[group]) == (5, 4, True, group.results)
    assert repr(graph) == "r(4)\n     c(0)\n     g(2)\n          a(0)\n          b(0)"
    written = io.StringIO()
    graph.to_dot(written)
    assert '    "g" -> "b"\n' in written.getvalue()
    assert [node.id for node in group.graph] == ["g", "a", "b"]


def test_a_graph_of_what_is_not_complete(app: Celeriac, backend: RecordingBackend) -> None:
    backend.put("r", "SUCCESS", 0, children=[[["c", None], None]])
    with pytest.raises(IncompleteStream, match="c"):
        _ = app.AsyncResult("r").graph
    assert len(app.AsyncResult("r").build_graph(intermediate=True)) == 2


def test_results_that_name_each_other_end_the_walk(app: Celeriac, backend: RecordingBackend) -> None:
    backend.put("a", "SUCCESS", 0, children=[[["b", None], None]])
    backend.put("b", "SUCCESS", 0, children=[[["a", None], None]])
    assert [node.id for _, node in app.AsyncResult("a").iterdeps()] == ["a", "b", "a"]


def test_a_graph_can_be_built_by_hand() -> None:
    graph = DependencyGraph([("a", ["b", "c"]), ("b", ["c"])])
    other = DependencyGraph[str]()
    other.add_edge("c", "d")
    graph.connect(other)
    graph.add_arc('e"')
    assert graph.topsort()[0] in ("d", 'e"')
    assert (graph.valency_of("a"), next(iter(graph.iteritems()))) == (3, ("a", ["b", "c"]))
    assert repr(graph) == 'a(3)\n     b(2)\n          c(1)\n               d(0)\n     c(1)\n          d(0)\ne"(0)'
    written = io.StringIO()
    graph.to_dot(written)
    assert r'"e\""' in written.getvalue()

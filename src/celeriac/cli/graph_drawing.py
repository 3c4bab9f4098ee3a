"""A workflow as text, for Graphviz, as a picture and as data."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any, Final, NamedTuple

from celeriac.cli.output import clean, counted
from celeriac.client.workflow_graph import GroupNode, Node, WorkflowGraph
from celeriac.core import states

ENDED, FAILED, RUNNING, WAITING = "ended", "failed", "running", "waiting"
MARKS: Final = {ENDED: "✔", FAILED: "✘", RUNNING: "▶", WAITING: "·"}
STYLES: Final = {ENDED: "green", FAILED: "red", RUNNING: "yellow", WAITING: "bright_black"}
FILLS: Final = {ENDED: "#d9f2dd", FAILED: "#f8d7da", RUNNING: "#fff3cd", WAITING: "#eceff1"}
STROKES: Final = {ENDED: "#2e7d32", FAILED: "#b71c1c", RUNNING: "#b08900", WAITING: "#78909c"}

ROW_PX: Final = 44
INDENT_PX: Final = 32
BOX_PX: Final = 32
CHAR_PX: Final = 7.3
MARGIN_PX: Final = 16


class Row(NamedTuple):
    """One node of the tree."""

    lead: str
    """Lines and arrow before it."""
    node: Node
    depth: int
    comes_after: bool
    """It came after the last row of the same depth; else it is the first of a branch."""


def rows(graph: WorkflowGraph) -> Iterator[Row]:
    """Yield the nodes as a tree: what came after a node stands below it, what is in a group or one of several below and to the right."""
    shown: set[str] = set()
    # Where a row goes on: node, lead, lead of what is below it, depth, whether it came after another. Not recursive: a chain can be long.
    waiting = [(root, "", "", 0, False) for root in reversed(graph.roots())]
    while waiting:
        node_id, lead, below, depth, comes_after = waiting.pop()
        if node_id in shown:
            continue
        shown.add(node_id)
        node = graph.nodes[node_id]
        yield Row(lead, node, depth, comes_after)
        later = graph.after.get(node_id, [])
        branches: list[str] = []
        if isinstance(node, GroupNode):
            branches = node.members
        elif len(later) > 1:
            branches, later = later, []
        waiting += [(one, f"{below}→ ", below, depth, True) for one in reversed(later)]
        ends = [("├─ ", "│  ")] * (len(branches) - 1) + [("└─ ", "   ")]
        waiting += [
            (one, below + corner, below + line, depth + 1, False)
            for one, (corner, line) in reversed(list(zip(branches, ends, strict=False)))
        ]


def condition(graph: WorkflowGraph, node: Node) -> str:
    """Return in which of four conditions a node is."""
    if isinstance(node, GroupNode):
        inner = {condition(graph, graph.nodes[end]) for end in node.ends if end != node.id}
        ended, size = graph.progress(node)
        went_on = any(condition(graph, graph.nodes[later]) != WAITING for later in graph.after.get(node.id, ()))
        if went_on or (size is not None and ended >= size):
            return FAILED if FAILED in inner else ENDED
        return RUNNING if ended or inner - {WAITING} else WAITING
    if node.state == states.SUCCESS:
        return ENDED
    if node.state in states.READY_STATES or node.state == "?":
        return FAILED
    return WAITING if node.state == states.PENDING else RUNNING


def title(graph: WorkflowGraph, node: Node) -> str:
    """Return what a node is and how it stands."""
    if isinstance(node, GroupNode):
        ended, size = graph.progress(node)
        return f"group {ended}/{size}" if size is not None else f"group ({counted(len(node.ends), 'member')} known)"
    return clean(f"{node.name or 'task'} {node.state}")


def as_text(graph: WorkflowGraph) -> Iterator[tuple[str, str, str, str]]:
    """Yield lines in four parts: what leads to the node, its title with a mark, its style, and its id with what went wrong."""
    for row in rows(graph):
        stands = condition(graph, row.node)
        error = "" if isinstance(row.node, GroupNode) or not row.node.error else f"  {clean(row.node.error)}"
        here = "  ◀" if row.node.id == graph.start_id and len(graph.nodes) > 1 else ""
        yield (
            row.lead,
            f"{MARKS[stands]} {title(graph, row.node)}",
            STYLES[stands],
            f"  {clean(row.node.id)}{error}{here}",
        )


def as_dot(graph: WorkflowGraph) -> str:
    """Return the graph for Graphviz; dashed lines lead to members."""
    lines = ["digraph workflow {", '    node [shape=box, style="rounded,filled", fontname=sans]']
    for row in rows(graph):
        stands = condition(graph, row.node)
        label = _quoted(f"{title(graph, row.node)}\n{clean(row.node.id)}")
        lines.append(
            f'    {_quoted(row.node.id)} [label={label}, fillcolor="{FILLS[stands]}", color="{STROKES[stands]}"]'
        )
    for before, later, is_member in graph.edges():
        style = " [style=dashed]" if is_member else ""
        lines.append(f"    {_quoted(before)} -> {_quoted(later)}{style}")
    return "\n".join([*lines, "}"])


def as_svg(graph: WorkflowGraph) -> str:
    """Return the tree as a picture of its own: boxes in rows, a line from each to what it came after or belongs to."""
    boxes: list[str] = []
    lines: list[str] = []
    last_at_depth: dict[int, int] = {}
    width = 0.0
    count = 0
    for index, row in enumerate(rows(graph)):
        count += 1
        stands = condition(graph, row.node)
        error = None if isinstance(row.node, GroupNode) else row.node.error
        text, below = title(graph, row.node), clean(row.node.id if not error else f"{row.node.id}  {error}")
        box = max(len(text) * CHAR_PX, len(below) * CHAR_PX * 0.8) + 20
        x, y = MARGIN_PX + row.depth * INDENT_PX, MARGIN_PX + index * ROW_PX
        width = max(width, x + box)
        start = last_at_depth.get(row.depth if row.comes_after else row.depth - 1)
        if start is not None:
            x0 = x + 10 if row.comes_after else x - INDENT_PX + 10
            y0 = MARGIN_PX + start * ROW_PX + BOX_PX
            path = f"M{x0} {y0}V{y}" if row.comes_after else f"M{x0} {y0}V{y + BOX_PX / 2:g}H{x}"
            arrow = ' marker-end="url(#arrow)"' if row.comes_after else ' stroke-dasharray="3 2"'
            lines.append(f'<path d="{path}"{arrow}/>')
        last_at_depth[row.depth] = index
        boxes.append(
            f'<g><rect x="{x}" y="{y}" width="{box:.0f}" height="{BOX_PX}" rx="6" fill="{FILLS[stands]}"'
            f' stroke="{STROKES[stands]}"/><text x="{x + 8}" y="{y + 14}">{escape(text)}</text>'
            f'<text class="id" x="{x + 8}" y="{y + 26}">{escape(below)}</text></g>'
        )
    height = 2 * MARGIN_PX + count * ROW_PX - (ROW_PX - BOX_PX)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + MARGIN_PX:.0f}" height="{height}">',
            "<style>text{font:12px monospace;fill:#212121}.id{font-size:9.5px;fill:#546e7a}"
            "path{fill:none;stroke:#78909c;stroke-width:1.3}</style>",
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path d="M0 0L8 4L0 8z" style="fill:#78909c;stroke:none"/></marker></defs>',
            *lines,
            *boxes,
            "</svg>",
        ]
    )


def as_data(graph: WorkflowGraph) -> dict[str, Any]:
    """Return the graph for programs."""
    nodes: list[dict[str, Any]] = []
    for row in rows(graph):
        node = row.node
        if isinstance(node, GroupNode):
            ended, size = graph.progress(node)
            nodes.append({"id": node.id, "kind": "group", "ended": ended, "size": size, "members": node.members})
        else:
            nodes.append(
                {
                    "id": node.id,
                    "kind": "task",
                    "name": node.name,
                    "state": node.state,
                    "error": node.error,
                    "ended_at": node.ended_at.isoformat() if node.ended_at else None,
                    "retries": node.retries,
                    "worker": node.worker,
                }
            )
    edges = [{"from": before, "to": later} for before, later, is_member in graph.edges() if not is_member]
    return {"id": graph.start_id, "over": graph.is_over, "nodes": nodes, "edges": edges, "cut": graph.cut}


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

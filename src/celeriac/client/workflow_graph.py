"""What is known of a workflow from its results: tasks and groups, and what followed what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from celeriac.client.result_tuples import taken_apart
from celeriac.core import states
from celeriac.core.stuck import name_of, result_id_of
from celeriac.exceptions import CeleriacError, DecodeError, ImproperlyConfigured
from celeriac.wire import chord_part, group_document

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.core.workflow import ChordState
    from celeriac.wire.result_meta import ResultMeta

MAX_NODES: Final = 1_000
"""What is looked up at most, unless the caller says so."""
FETCHED_AT_ONCE: Final = 500
ERROR_CHARS: Final = 100


@dataclass(slots=True)
class TaskNode:
    """A task; PENDING where nothing is stored: it has not begun, its result is over its time, or nobody knows it."""

    id: str
    state: str = states.PENDING
    name: str | None = None
    error: str | None = None
    ended_at: datetime | None = None
    retries: int | None = None
    worker: str | None = None
    known: bool = False
    """Something is stored."""


@dataclass(slots=True)
class GroupNode:
    """A group, or the header of a chord."""

    id: str
    members: list[str] = field(default_factory=list)
    """First nodes of its members, in their order."""
    ends: list[str] = field(default_factory=list)
    """The tasks (and groups) that give the members' values."""
    told: bool = False
    """Who its members are is written somewhere; else these are those of whom something else tells."""
    counted: ChordState | None = None
    """What the backend counts, while the chord is open."""


Node = TaskNode | GroupNode


class WorkflowGraph:
    """Tasks and groups by their ids, and what came after each."""

    def __init__(self, start_id: str) -> None:
        self.start_id = start_id
        self.nodes: dict[str, Node] = {}
        self.after: dict[str, list[str]] = {}
        self.cut = False
        """There is more than was looked up."""

    def roots(self) -> list[str]:
        """Return what came after nothing and is member of nothing."""
        later = {one for ids in self.after.values() for one in ids}
        inside = {member for node in self.nodes.values() if isinstance(node, GroupNode) for member in node.members}
        roots = [one for one in self.nodes if one not in later and one not in inside]
        return roots or [self.start_id]

    def progress(self, group: GroupNode) -> tuple[int, int | None]:
        """Return how many members of a group have ended, and how many there are, None where nobody tells."""
        ended = sum(self.has_ended(end) for end in group.ends)
        if group.counted is not None:
            return max(ended, group.counted.ended), group.counted.size or (len(group.ends) if group.told else None)
        return ended, len(group.ends) if group.told else None

    def has_ended(self, node_id: str) -> bool:
        """Tell whether a task, or each member of a group, has ended."""
        waiting, seen = [node_id], {node_id}
        while waiting:
            node = self.nodes[waiting.pop()]
            if isinstance(node, TaskNode):
                if node.state not in states.READY_STATES:
                    return False
            else:
                waiting += [end for end in node.ends if end not in seen]
                seen.update(node.ends)
        return True

    @property
    def is_over(self) -> bool:
        """Everything that is known of has ended."""
        return all(self.has_ended(node_id) for node_id in self.nodes)

    @property
    def is_known(self) -> bool:
        """Anything is known of any of it."""
        return any(isinstance(node, GroupNode) or node.known for node in self.nodes.values())

    def edges(self) -> Iterator[tuple[str, str, bool]]:
        """Yield pairs of nodes; True: the second is a member of the first, else it came after it."""
        for node in self.nodes.values():
            if isinstance(node, GroupNode):
                yield from ((node.id, member, True) for member in node.members)
            yield from ((node.id, later, False) for later in self.after.get(node.id, ()))

    def link(self, before: str, later: str) -> None:
        """Say that a node came after another. Idempotent."""
        ids = self.after.setdefault(before, [])
        if later not in ids and before != later:
            ids.append(later)


def read_graph(app: Celeriac, start: str, *, max_nodes: int = MAX_NODES) -> WorkflowGraph:
    """Return what the results tell of a workflow.

    Args:
        start: the id of any task in it, of a group that was saved or whose chord is open; or the JSON text of a result's `as_tuple()`.
        max_nodes: more are not looked up.

    Results tell what a task sent and what came right before it, so the way leads up to the first task and down again.  Of a chord that is
    over, and that no task sent, they name the body and the member that ended last.

    Raises `ValueError` for a JSON text that is no result's, `BackendUnavailable`.  Blocking.
    """
    return _Reading(app, start.strip(), max_nodes).graph


class _Reading:
    """Duties: 1. look up what is known, in batches; 2. put each thing at its place."""

    def __init__(self, app: Celeriac, start: str, max_nodes: int) -> None:
        self._app = app
        self._max_nodes = max_nodes
        self._records: dict[str, ResultMeta] = {}
        self._to_fetch: dict[str, None] = {}
        self._asked: set[str] = set()
        self._looked_up_groups: set[str] = set()
        if start.startswith("["):
            written = _from_json(start)
            self.graph = WorkflowGraph(_id_of(written))
            self._add(written)
        else:
            self.graph = WorkflowGraph(start)
            self._want(start)
        self._read()

    def _read(self) -> None:
        while self._to_fetch:
            self._fetch()
            self._place()
        start = self.graph.start_id
        if start not in self.graph.nodes:
            self.graph.nodes[start] = TaskNode(start)

    # -- looking up ---------------------------------------------------------------------------------------------------

    def _want(self, task_id: str) -> None:
        if task_id in self._asked or task_id in self._to_fetch:
            return
        if len(self._asked) + len(self._to_fetch) >= self._max_nodes:
            self.graph.cut = True
            return
        self._to_fetch[task_id] = None

    def _fetch(self) -> None:
        while self._to_fetch:
            batch = list(self._to_fetch)[:FETCHED_AT_ONCE]
            for one in batch:
                del self._to_fetch[one]
            self._asked.update(batch)
            found = self._app._reader.fetch(batch)
            for task_id in batch:
                document = found.get(task_id)
                if document is not None:
                    self._take(task_id, document)
                elif task_id == self.graph.start_id and task_id not in self.graph.nodes:
                    self._look_up_group(task_id)

    def _take(self, task_id: str, document: bytes) -> None:
        node = self._task(task_id)
        node.known = True
        try:
            meta = self._app.AsyncResult(task_id)._read(document)
        except CeleriacError as error:
            node.state, node.error = "?", f"the result can't be read: {error}"[:ERROR_CHARS]
            return
        self._records[task_id] = meta
        node.state = meta.status
        node.ended_at = datetime.fromisoformat(meta.date_done) if meta.date_done else None
        node.name = meta.name if isinstance(meta.name, str) else node.name
        node.retries = meta.retries if isinstance(meta.retries, int) else None
        node.worker = meta.worker if isinstance(meta.worker, str) else None
        if isinstance(meta.result, BaseException):
            node.error = _short(meta.result)
        for child in meta.children or ():
            try:
                first = self._add(child)
            except ValueError:
                continue  # some other program's idea of a child
            self.graph.link(task_id, first)
        if meta.parent_id:
            self._want(meta.parent_id)

    def _look_up_group(self, group_id: str) -> GroupNode | None:
        """Find out what is stored of a group itself: its members, if it was saved, and its count, while its chord is open."""
        if group_id in self._looked_up_groups:
            return self._known_group(group_id)
        self._looked_up_groups.add(group_id)
        reader = self._app._reader
        try:
            document = reader.fetch_group(group_id)
            if document is not None:
                self._add(group_document.decode(document, self._app.content.results))
            state = next(iter(reader.chords([group_id])), None) if self._app.backend.counts_chords else None
        except (ImproperlyConfigured, DecodeError, ValueError):
            return self._known_group(group_id)  # this backend keeps none, or what it keeps is no group of ours
        if state is not None:
            self._take_count(state)
        return self._known_group(group_id)

    def _take_count(self, state: ChordState) -> None:
        group = self._group(state.group_id)
        group.counted = state
        try:
            body = chord_part.decode_body(state.body, self._app.settings.accept_content, self._app.content.keys)
        except CeleriacError:
            return
        body_id = result_id_of(body)
        if body_id is not None:
            self._task(body_id).name = name_of(body)
            self._want(body_id)
            self.graph.link(group.id, body_id)

    # -- putting each thing at its place ------------------------------------------------------------------------------

    def _place(self) -> None:
        """Find the place of each task that names its group, or what came before it."""
        grouped = {
            task_id: meta.group_id
            for task_id, meta in self._records.items()
            if meta.group_id and not self._is_body(task_id, meta.group_id)
        }
        for task_id, group_id in grouped.items():
            self._look_up_group(group_id)
            group = self._group(group_id)
            if task_id not in group.ends:
                group.ends.append(task_id)
                group.members.append(task_id)
        inside = grouped | {
            end: group.id for group in self.graph.nodes.values() if isinstance(group, GroupNode) for end in group.ends
        }
        for task_id, meta in self._records.items():
            before = meta.parent_id
            if before and before in self._asked and task_id not in self.graph.after.get(before, ()):
                group_around = self._group_around(task_id, inside)
                if group_around is None or self._is_inside(group_around, task_id, grouped.get(before)):
                    self._put_after(before, task_id, grouped)
                else:
                    self._put_after(before, group_around, grouped)
        for group_id in dict.fromkeys(grouped.values()):
            group = self._group(group_id)
            group.members = [self._first_of(end, group_id) for end in group.ends]

    def _put_after(self, before: str, later: str, grouped: dict[str, str]) -> None:
        """Say that a node came after a task that did not tell of it: then it came after the group that this is a member of."""
        if any(later in ids for ids in self.graph.after.values()):
            return  # something told of it
        group_id = grouped.get(before)
        if group_id is not None and group_id != later:
            before = group_id
        elif before not in self.graph.nodes:
            self._task(before)
        self.graph.link(before, later)

    def _is_inside(self, group_id: str, task_id: str, before: str | None) -> bool:
        """Tell whether the group `before` is a step in a member of a group, as the task behind it is; else the group comes after it."""
        if before is None or before == group_id or group_id in self.graph.after.get(before, ()):
            return False
        group = self._group(group_id)
        parents = {self._records[end].parent_id for end in group.ends if end in self._records}
        return group.told or len(group.ends) == 1 or parents != {self._records[task_id].parent_id}

    def _group_around(self, task_id: str, inside: dict[str, str]) -> str | None:
        """Return the group that a task is the last step of a member of, or a step before that one."""
        step, seen = task_id, {task_id}
        while step not in inside:
            later = self.graph.after.get(step, ())
            if len(later) != 1 or later[0] in seen:
                return None
            step = later[0]
            seen.add(step)
        return inside[step]

    def _first_of(self, end: str, group_id: str) -> str:
        """Return the first node of a member of a group, from the one that gives its value."""
        first, seen = end, {end, group_id}
        while True:
            before = next((one for one, later in self.graph.after.items() if first in later), None)
            if before is None or before in seen or group_id in self.graph.after.get(before, ()):
                return first
            seen.add(before)
            first = before

    def _is_body(self, task_id: str, group_id: str) -> bool:
        """Tell whether a task came after a group, as what follows a chord carries the group's id, too."""
        meta: ResultMeta | None = self._records.get(task_id)
        seen = {task_id}
        while meta is not None and meta.parent_id and meta.parent_id not in seen:
            seen.add(meta.parent_id)
            meta = self._records.get(meta.parent_id)
            if meta is not None and meta.group_id == group_id:
                return True
        return False

    def _add(self, written: Any) -> str:
        """Add what Celery's tuple of a result tells of; return the first node of it. Raises `ValueError`."""
        first = later = ""
        rest = written
        while rest is not None:
            node_id, above, members = taken_apart(rest)
            if members is None:
                self._task(node_id)
                self._want(node_id)
            else:
                group = self._group(node_id)
                group.told = True
                for member in members:
                    end = _id_of(member)
                    start = self._add(member)
                    if end not in group.ends:
                        group.ends.append(end)
                        group.members.append(start)
            if later:
                self.graph.link(node_id, later)
            first = later = node_id
            rest = above
        return first

    def _task(self, task_id: str) -> TaskNode:
        node = self.graph.nodes.get(task_id)
        if not isinstance(node, TaskNode):
            node = self.graph.nodes[task_id] = TaskNode(task_id)
        return node

    def _group(self, group_id: str) -> GroupNode:
        node = self._known_group(group_id)
        if node is None:
            node = self.graph.nodes[group_id] = GroupNode(group_id)
        return node

    def _known_group(self, group_id: str) -> GroupNode | None:
        node = self.graph.nodes.get(group_id)
        return node if isinstance(node, GroupNode) else None


def _id_of(written: Any) -> str:
    return taken_apart(written)[0]


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"this is neither an id nor the JSON of a result's as_tuple(): {error}") from None


def _short(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}".split("\n", 1)[0]
    return text if len(text) <= ERROR_CHARS else f"{text[: ERROR_CHARS - 3]}..."

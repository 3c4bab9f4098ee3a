"""`celeriac graph`, with a worker that runs what it draws."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from celeriac import Celeriac, chain, chord, group
from celeriac.cli.root import celeriac
from celeriac.cli.target import Target
from celeriac.client.workflow_graph import TaskNode, read_graph
from celeriac.testing.worker import TestWorker
from tests.services import wait_until

GET_S = 20.0
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Shop:
    """An app with a worker, and the command line run on its broker and backend in this process."""

    def __init__(self, broker: str, backend: str, **settings: Any) -> None:
        self.broker, self.backend = broker, backend
        self.app = app = Celeriac("shop", broker=broker, backend=backend, result_extended=True, **settings)
        self.gate = gate = threading.Event()
        self.begun = threading.Event()

        @app.task(name="shop.add")
        def add(x: int, y: int = 1) -> int:
            return x + y

        @app.task(name="shop.total")
        def total(numbers: list[int]) -> int:
            return sum(numbers)

        @app.task(name="shop.fail", throws=(ValueError,))
        def fail(x: int) -> int:
            raise ValueError(f"no {x}\nand more")

        @app.task(name="shop.hold", track_started=True)
        def hold(x: int) -> int:
            self.begun.set()
            assert gate.wait(GET_S)
            return x

        @app.task(name="shop.spawn")
        def spawn() -> None:
            add.delay(1)
            group(add.s(1), add.s(2)).delay()

        self.add, self.total, self.fail, self.hold, self.spawn = add, total, fail, hold, spawn

    def ended(self, result: Any) -> Any:
        """Wait for the end of a result, and return the result."""
        result.get(timeout=GET_S, propagate=False)
        return result

    def run(self, *arguments: str, typed: str = "", backend: str | None = None) -> Result:
        """Run `celeriac graph` as a program that knows nothing but the URLs."""
        target = Target()
        # Not by options: these hold for the whole process, which is that of all tests.
        target._app = Celeriac("look", broker=self.broker, backend=backend or self.backend, set_as_current=False)
        return CliRunner().invoke(celeriac, ["graph", *arguments], input=typed, obj=target)

    def drawn(self, *arguments: str, typed: str = "") -> str:
        """Run `celeriac graph` and return what it prints, with short names for ids in the order of their appearance."""
        done = self.run(*arguments, typed=typed)
        assert done.exit_code == 0, done.output
        return named(done.stdout)


def named(text: str) -> str:
    """Put #1, #2... in the place of ids."""
    names: dict[str, str] = {}
    return UUID.sub(lambda found: names.setdefault(found.group(), f"#{len(names) + 1}"), text)


@contextmanager
def running(shop: Shop) -> Iterator[Shop]:
    try:
        with TestWorker(shop.app, concurrency=3):
            yield shop
            shop.gate.set()
    finally:
        shop.gate.set()
        shop.app.close()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    url = f"sqlite:///{tmp_path}/broker.db"
    with running(Shop(url, url)) as shop:
        yield shop


def test_a_chain_is_drawn_from_any_of_its_steps(shop: Shop) -> None:
    last = shop.ended((shop.add.s(1) | shop.add.s(2) | shop.add.s(3))())
    steps = ["✔ shop.add SUCCESS  #1", "→ ✔ shop.add SUCCESS  #2", "→ ✔ shop.add SUCCESS  #3"]
    for place, step in enumerate([last.parent.parent, last.parent, last]):
        marked = [f"{line}  ◀" if index == place else line for index, line in enumerate(steps)]
        assert shop.drawn(step.id).splitlines() == marked


def test_what_came_after_a_group_is_drawn_below_it(shop: Shop) -> None:
    body = shop.ended(chain(shop.add.s(1), group(shop.add.s(), shop.fail.s(), shop.add.s()), shop.total.s())())
    assert shop.drawn(body.id) == (
        "✔ shop.add SUCCESS  #1\n"
        "→ ✘ group 3/3  #2\n"
        "├─ ✔ shop.add SUCCESS  #3\n"
        "├─ ✘ shop.fail FAILURE  #4  ValueError: no 2\n"
        "└─ ✔ shop.add SUCCESS  #5\n"
        "→ ✘ task FAILURE  #6  ChordError: Dependency #4 raised ValueError('no 2\\nand more')  ◀\n"
    )


def test_of_a_chord_that_is_over_the_body_tells_one_member_and_the_tuple_all(shop: Shop) -> None:
    """Nothing else is stored of a header that no task has sent."""
    simple = shop.ended(chord([shop.add.s(1), shop.add.s(2)])(shop.total.s() | shop.add.s()))
    assert shop.drawn(simple.id) == (
        "✔ group (1 member known)  #1\n"
        "└─ ✔ shop.add SUCCESS  #2\n"
        "→ ✔ shop.total SUCCESS  #3\n"
        "→ ✔ shop.add SUCCESS  #4  ◀\n"
    )
    inner = group(shop.add.s(1), shop.add.s(2)) | shop.total.s() | shop.add.s()
    body = shop.ended(chord([shop.add.s(1) | shop.add.s(2), inner])(shop.total.s() | shop.add.s()))
    assert shop.drawn("-", typed=json.dumps(body.as_tuple())) == (
        "✔ group 2/2  #1\n"
        "├─ ✔ shop.add SUCCESS  #2\n"
        "│  → ✔ shop.add SUCCESS  #3\n"
        "└─ ✔ group 2/2  #4\n"
        "   ├─ ✔ shop.add SUCCESS  #5\n"
        "   └─ ✔ shop.add SUCCESS  #6\n"
        "   → ✔ shop.total SUCCESS  #7\n"
        "   → ✔ shop.add SUCCESS  #8\n"
        "→ ✔ shop.total SUCCESS  #9\n"
        "→ ✔ shop.add SUCCESS  #10  ◀\n"
    )


def test_an_open_chord_shows_its_progress_and_its_body(shop: Shop) -> None:
    body = chord([shop.add.s(1), shop.hold.s(2), shop.add.s(3)])(shop.total.s())
    assert shop.begun.wait(GET_S)
    first, held, last = body.parent.results
    shop.ended(first)
    shop.ended(last)
    wait_until(lambda: held.state == "STARTED", "that it runs is stored")
    wait_until(lambda: shop.app._reader.chords([body.parent.id])[0].ended == 2, "both are counted")
    assert shop.drawn(first.id).splitlines() == [
        "▶ group 2/3  #1",
        "└─ ✔ shop.add SUCCESS  #2  ◀",
        "→ · shop.total PENDING  #3",
    ]
    told = shop.drawn("-", typed=json.dumps(body.as_tuple())).splitlines()
    assert told == [
        "▶ group 2/3  #1",
        "├─ ✔ shop.add SUCCESS  #2",
        "├─ ▶ shop.hold STARTED  #3",
        "└─ ✔ shop.add SUCCESS  #4",
        "→ · shop.total PENDING  #5  ◀",
    ]
    assert "group 2/3" in shop.drawn(body.parent.id), "the header's id is known while it is counted"
    shop.gate.set()
    shop.ended(body)
    assert shop.drawn("-", typed=json.dumps(body.as_tuple())).startswith("✔ group 3/3")


def test_steps_that_never_ran_stand_behind_the_one_that_failed(shop: Shop) -> None:
    last = shop.ended((shop.add.s(1) | shop.fail.s() | shop.add.s() | shop.add.s())())
    assert shop.drawn(last.id) == (
        "✔ shop.add SUCCESS  #1\n→ ✘ shop.fail FAILURE  #2  ValueError: no 2\n→ ✘ task FAILURE  #3  ValueError: no 2  ◀\n"
    )


def test_what_a_task_sent_is_drawn_to_its_right(shop: Shop) -> None:
    sent = shop.ended(shop.spawn.delay())
    wait_until(lambda: all(child.ready() for child in sent.children), "its children have ended")
    assert shop.drawn(sent.id) == (
        "✔ shop.spawn SUCCESS  #1  ◀\n"
        "├─ ✔ shop.add SUCCESS  #2\n"
        "└─ ✔ group 2/2  #3\n"
        "   ├─ ✔ shop.add SUCCESS  #4\n"
        "   └─ ✔ shop.add SUCCESS  #5\n"
    )


def test_a_saved_group_is_drawn_by_its_id(shop: Shop) -> None:
    saved = (shop.add.s(1) | group(shop.add.s(1) | shop.add.s(2), shop.add.s(3)))()
    shop.ended(saved).save()
    assert shop.drawn(saved.id) == (
        "✔ shop.add SUCCESS  #1\n"
        "→ ✔ group 2/2  #2  ◀\n"
        "├─ ✔ shop.add SUCCESS  #3\n"
        "│  → ✔ shop.add SUCCESS  #4\n"
        "└─ ✔ shop.add SUCCESS  #5\n"
    )


def test_other_forms(shop: Shop) -> None:
    last = shop.ended((shop.add.s(1) | group(shop.add.s(), shop.fail.s()) | shop.total.s())())
    dot = shop.drawn(last.id, "--format", "dot").splitlines()
    assert dot[0] == "digraph workflow {"
    assert dot[2] == r'    "#1" [label="shop.add SUCCESS\n#1", fillcolor="#d9f2dd", color="#2e7d32"]'
    assert dot[-5:] == [
        '    "#1" -> "#2"',
        '    "#2" -> "#3" [style=dashed]',
        '    "#2" -> "#4" [style=dashed]',
        '    "#2" -> "#5"',
        "}",
    ]

    svg = ElementTree.fromstring(shop.drawn(last.id, "--format", "svg"))
    space = "{http://www.w3.org/2000/svg}"
    assert svg.tag == f"{space}svg"
    titles = [text.text for text in svg.iter(f"{space}text") if "class" not in text.attrib]
    assert titles == ["shop.add SUCCESS", "group 2/2", "shop.add SUCCESS", "shop.fail FAILURE", "task FAILURE"]
    boxes = [(float(box.attrib["x"]), float(box.attrib["y"])) for box in svg.iter(f"{space}rect")]
    assert len(set(boxes)) == 5
    assert boxes[2][0] > boxes[1][0] == boxes[4][0], "members stand to the right of their group"

    data = json.loads(shop.drawn(last.id, "--json"))
    assert data["nodes"][-1]["id"] == data["id"]
    by_name = {node.get("name"): node for node in data["nodes"]}
    assert by_name["shop.fail"]["error"] == "ValueError: no 2"
    assert by_name["shop.add"]["ended_at"].endswith("+00:00")
    (of_group,) = (node for node in data["nodes"] if node["kind"] == "group")
    assert (of_group["ended"], of_group["size"], len(of_group["members"])) == (2, 2, 2)
    assert len(data["edges"]) == 2
    assert data["over"] is True


def test_watching_ends_with_the_workflow(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    result = (shop.hold.s(1) | shop.add.s())()
    wait_until(lambda: result.parent.state == "STARTED", "that it runs is stored")

    def end(_seconds: float) -> None:
        shop.gate.set()
        shop.ended(result)

    monkeypatch.setattr("celeriac.cli.graph.time.sleep", end)
    drawn = shop.drawn("-", "--watch", typed=json.dumps(result.as_tuple())).splitlines()
    assert drawn == [
        "▶ shop.hold STARTED  #1",
        "→ · task PENDING  #2  ◀",
        "✔ shop.hold SUCCESS  #1",
        "→ ✔ shop.add SUCCESS  #2  ◀",
    ]


def test_what_cannot_be_drawn(shop: Shop) -> None:
    unknown = shop.run("nobody-knows")
    assert (unknown.exit_code, unknown.stdout) == (3, "· task PENDING  nobody-knows\n")
    assert "nothing is known of nobody-knows" in unknown.stderr
    assert "neither an id nor the JSON" in shop.run("-", typed="[1").stderr
    assert "not the tuple of a result" in shop.run("-", typed="[1]").stderr
    assert "--watch draws text" in shop.run("x", "--watch", "--json").stderr
    last = shop.ended(chain(shop.add.s(1) for _ in range(5))())
    cut = shop.run(last.id, "--limit", "3")
    assert "there is more; see --limit" in cut.stderr
    assert len(cut.stdout.splitlines()) >= 3
    nothing_kept = shop.run("x", backend="disabled://")
    assert (nothing_kept.exit_code, "keeps no results" in nothing_kept.stderr) == (2, True)


def test_a_result_that_cannot_be_read_is_shown_as_such(shop: Shop) -> None:
    from celeriac.core.effects import Record

    shop.app._reader.store([Record("broken", "SUCCESS", b"\xff no document", None, "")])
    node = read_graph(shop.app, "broken").nodes["broken"]
    assert isinstance(node, TaskNode)
    assert node.state == "?"
    assert node.error is not None
    assert node.error.startswith("the result can't be read")


@pytest.mark.parametrize("kind", ["redis", "sqlalchemy"])
def test_on_other_backends(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    make: dict[str, Callable[[], tuple[str, str]]] = {
        "redis": lambda: (request.getfixturevalue("redis_url"),) * 2,
        "sqlalchemy": lambda: (f"sqlite:///{tmp_path}/broker.db", f"db+sqlite:///{tmp_path}/results.db"),
    }
    with running(Shop(*make[kind]())) as shop:
        body = chord([shop.add.s(1), shop.hold.s(2)])(shop.total.s())
        assert shop.begun.wait(GET_S)
        assert shop.drawn(shop.ended(body.parent[0]).id) == (
            "▶ group 1/2  #1\n└─ ✔ shop.add SUCCESS  #2  ◀\n→ · shop.total PENDING  #3\n"
        )
        shop.gate.set()
        shop.ended(body)
        assert shop.drawn(body.id).endswith("→ ✔ shop.total SUCCESS  #3  ◀\n")
        group_of = (shop.add.s(1) | group(shop.add.s(1), shop.add.s(2)))()
        shop.ended(group_of).save()
        assert shop.drawn(group_of.id).startswith("✔ shop.add SUCCESS  #1\n→ ✔ group 2/2  #2  ◀\n├─ ✔")

"""`celeriac workflows`, with a worker that runs what it sends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.client import workflows
from celeriac.client.chords import opening_of
from celeriac.core import states
from celeriac.core.effects import Join
from celeriac.exceptions import ChordError
from celeriac.testing.worker import TestWorker
from tests.cli.support import Project

GET_S = 60.0


@pytest.fixture
def app(project: Project) -> Iterator[Celeriac]:
    """The app of the project's broker in this process, with a worker."""
    (project.directory / ".celeriac").mkdir()
    app = Celeriac("shop", broker=f"sqlite:///{project.directory}/.celeriac/broker.db")

    @app.task(name="shop.total")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    with TestWorker(app):
        yield app
    app.close()


def start(app: Celeriac, group_id: str, size: int, ended: int) -> None:
    """Open a chord, and have so many of its members end."""
    body: dict[str, Any] = {"task": "shop.total", "args": [], "kwargs": {}, "options": {"task_id": f"{group_id}-body"}}
    app._reader.open_chords([opening_of(app, group_id, size, body, "json")])
    joins = (Join(group_id, f"{group_id}-{index}", index, states.SUCCESS, index) for index in range(ended))

    async def join() -> None:
        writer = app.backend.writer()
        await writer.join([workflows.part_of(app, join, "json") for join in joins])
        await writer.close()

    asyncio.run(join())


def test_stuck_workflows_are_found_and_finished(project: Project, app: Celeriac) -> None:
    ok, run = project.ok, project.run
    none = run("-A", "shop", "workflows")
    assert (none.returncode, none.stdout) == (0, "id\tbody\tended\tlast progress\tstate\n")
    assert "no workflow is open" in none.stderr

    start(app, "part", 3, 2)
    start(app, "whole", 3, 3)
    start(app, "fresh", 50, 37)
    listed = [line.split("\t") for line in ok("-A", "shop", "workflows").splitlines()]
    assert [[line[0], line[1], line[2], line[4]] for line in listed[1:]] == [
        ["part", "shop.total", "2/3", "waiting"],
        ["whole", "shop.total", "3/3", "complete"],
        ["fresh", "shop.total", "37/50", "waiting"],
    ]
    cut = run("-A", "shop", "workflows", "--limit", "2")
    assert len(cut.stdout.splitlines()) == 3
    assert "there are more; see --limit" in cut.stderr
    assert "no workflow is stuck" in run("-A", "shop", "workflows", "--stuck").stderr

    stuck = project.json("workflows", "--stuck", "--after", "0")
    assert [one["id"] for one in stuck] == ["part", "whole", "fresh"]
    assert 0 <= stuck[2].pop("idle_s") < 3600
    assert stuck[2].pop("last_progress_at").endswith("+00:00")
    assert stuck[2] == {
        "id": "fresh",
        "body": "shop.total",
        "body_id": "fresh-body",
        "size": 50,
        "ended": 37,
        "progress": "37/50",
        "complete": False,
        "claimed": False,
        "stuck": True,
    }

    refused = run("-A", "shop", "workflows", "finish", "part", typed="n\n")
    assert refused.returncode == 1
    assert (
        "shop.total: 2 of 3 parts are in; those that have not ended will count as failed. Finish it?" in refused.stdout
    )
    assert "give --yes" in refused.stderr
    assert len(project.json("-A", "shop", "workflows")) == 3
    agreed = run("-A", "shop", "workflows", "finish", "whole", typed="y\n")
    assert agreed.stdout.endswith("workflow whole: shop.total[whole-body] was sent\n")
    assert app.AsyncResult("whole-body").get(timeout=GET_S) == 3
    failed = ok("-A", "shop", "workflows", "finish", "part", "--yes")
    assert failed.startswith("workflow part: shop.total[part-body] has failed: Dependency never-ended-3 raised")
    with pytest.raises(ChordError):
        app.AsyncResult("part-body").get(timeout=GET_S)
    assert [one["id"] for one in project.json("-A", "shop", "workflows")] == ["fresh"]

    again = run("-A", "shop", "workflows", "finish", "part", "--yes")
    assert again.returncode == 1
    assert "no workflow 'part' is open; see: celeriac workflows" in again.stderr


def test_where_nothing_is_counted_there_is_nothing_to_see(project: Project) -> None:
    done = project.run("-A", "shop", "--result-backend", "disabled://", "workflows")
    assert done.returncode == 2
    assert "disabled:// does not count the members of chords" in done.stderr
    assert "no app given" in project.run("workflows", "finish", "part", "--yes").stderr

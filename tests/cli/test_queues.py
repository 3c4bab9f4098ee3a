"""`celeriac queues` and `celeriac purge`."""

from __future__ import annotations

from tests.cli.support import Project


def later_counts_as(project: Project) -> str:
    """How a message for later is counted while no worker is alive.

    On Redis it then stands in the queue itself, where also a Celery worker finds it: only one of ours could end the delay.
    """
    return "ready" if "redis" in (project.directory / "shop.py").read_text() else "delayed"


def test_queues_show_what_waits(any_project: Project) -> None:
    for arguments in (["1"], ["2"], ["3", "--countdown", "3600"], ["4", "--queue", "mail"]):
        any_project.ok("-A", "shop", "call", "shop.add", *arguments)
    found = {entry["queue"]: entry for entry in any_project.json("-A", "shop", "queues")}
    ready, delayed = (3, 0) if later_counts_as(any_project) == "ready" else (2, 1)
    assert (found["celery"]["ready"], found["celery"]["delayed"], found["mail"]["ready"]) == (ready, delayed, 1)

    lines = [line.split("\t") for line in any_project.ok("-A", "shop", "queues", "-Q", "celery").splitlines()]
    assert lines[0] == ["queue", "ready", "delayed", "claimed", "dead", "oldest"]
    assert lines[1][:5] == ["celery", str(ready), str(delayed), "0", "0"]


def test_purge_asks_first(project: Project) -> None:
    for countdown in ("0", "3600"):
        project.ok("-A", "shop", "call", "shop.add", "1", "--countdown", countdown)

    ready, delayed = (2, 0) if later_counts_as(project) == "ready" else (1, 1)
    refused = project.run("-A", "shop", "purge", typed="n\n")
    assert refused.returncode == 1
    assert f"celery: {ready} ready, {delayed} delayed" in refused.stdout
    assert "give --force" in refused.stderr
    assert project.run("-A", "shop", "purge").returncode == 1  # nobody there to answer
    assert (project.depth("ready"), project.depth("delayed")) == (ready, delayed)

    agreed = project.run("-A", "shop", "purge", typed="y\n")
    assert agreed.returncode == 0
    assert "celery: 2 messages deleted" in agreed.stdout
    assert project.ok("-A", "shop", "purge", "-f", "-Q", "celery,mail").splitlines() == [
        "celery: 0 messages deleted",
        "mail: 0 messages deleted",
    ]


def test_embedded_broker_is_found_where_it_is(project: Project) -> None:
    project.ok("-A", "shop", "call", "shop.add", "1")
    done = project.run("queues")
    assert "celery\t1" in done.stdout
    assert done.stderr == ""  # not said again at each command

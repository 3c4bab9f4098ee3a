"""`celeriac queues` and `celeriac purge`."""

from __future__ import annotations

from tests.cli.support import Project


def test_queues_show_what_waits(any_project: Project) -> None:
    for arguments in (["1"], ["2"], ["3", "--countdown", "3600"], ["4", "--queue", "mail"]):
        any_project.ok("-A", "shop", "call", "shop.add", *arguments)
    found = {entry["queue"]: entry for entry in any_project.json("-A", "shop", "queues")}
    assert (found["celery"]["ready"], found["celery"]["delayed"], found["mail"]["ready"]) == (2, 1, 1)

    lines = [line.split("\t") for line in any_project.ok("-A", "shop", "queues", "-Q", "celery").splitlines()]
    assert lines[0] == ["queue", "ready", "delayed", "claimed", "dead", "oldest"]
    assert lines[1][:5] == ["celery", "2", "1", "0", "0"]


def test_purge_asks_first(any_project: Project) -> None:
    for countdown in ("0", "3600"):
        any_project.ok("-A", "shop", "call", "shop.add", "1", "--countdown", countdown)

    refused = any_project.run("-A", "shop", "purge", typed="n\n")
    assert refused.returncode == 1
    assert "celery: 1 ready, 1 delayed" in refused.stdout
    assert "give --force" in refused.stderr
    assert any_project.run("-A", "shop", "purge").returncode == 1  # nobody there to answer
    assert (any_project.depth("ready"), any_project.depth("delayed")) == (1, 1)

    agreed = any_project.run("-A", "shop", "purge", typed="y\n")
    assert agreed.returncode == 0
    assert "celery: 2 messages deleted" in agreed.stdout
    assert any_project.ok("-A", "shop", "purge", "-f", "-Q", "celery,mail").splitlines() == [
        "celery: 0 messages deleted",
        "mail: 0 messages deleted",
    ]


def test_embedded_broker_is_found_where_it_is(project: Project) -> None:
    project.ok("-A", "shop", "call", "shop.add", "1")
    done = project.run("queues")
    assert "celery\t1" in done.stdout
    assert done.stderr == ""  # not said again at each command

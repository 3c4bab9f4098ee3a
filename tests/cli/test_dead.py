"""`celeriac dead`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import redis

from tests.cli.support import Project


def park(project: Project, count: int) -> list[str]:
    """Have a worker park calls of a task that nobody knows; returns the ids of the tasks."""
    ids = [project.ok("-A", "shop", "call", "-f", "shop.nowhere", f'"{number}"').strip() for number in range(count)]
    with project.worker("-c", "1") as worker:
        worker.until(lambda: project.depth("dead") == count, "all are parked")
    return ids


def parked(project: Project) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = project.json("-A", "shop", "dead", "list")
    return found


def test_list_show_retry_purge(project: Project) -> None:
    ok, run = project.ok, project.run
    task_ids = park(project, 3)

    letters = parked(project)
    assert [letter["task_id"] for letter in letters] == task_ids[::-1]  # newest first
    assert {letter["task"] for letter in letters} == {"shop.nowhere"}
    assert all("NotRegistered" in letter["reason"] for letter in letters)
    listed = ok("-A", "shop", "dead", "list").splitlines()
    assert listed[0].split("\t") == ["id", "queue", "task", "parked", "crashes", "reason"]
    assert len(listed) == 4
    cut = run("-A", "shop", "dead", "list", "--limit", "1", "-Q", "celery")
    assert len(cut.stdout.splitlines()) == 2
    assert "2 more messages not shown" in cut.stderr

    shown = ok("-A", "shop", "dead", "show", letters[0]["id"])
    assert task_ids[2] in shown
    assert "('2',)" in shown
    by_task_id = project.json("-A", "shop", "dead", "show", task_ids[0])
    assert by_task_id["body"][0] == ["0"]
    missing = run("-A", "shop", "dead", "show", "no-such-id")
    assert missing.returncode == 1
    assert "celeriac dead list" in missing.stderr

    assert "celery: 1 message put back" in ok("-A", "shop", "dead", "retry", letters[0]["id"])
    assert (project.depth("ready"), project.depth("dead")) == (1, 2)
    assert "1 message deleted" in ok("-A", "shop", "dead", "purge", task_ids[0])
    twice = run("-A", "shop", "dead", "purge", letters[0]["id"])
    assert twice.returncode == 1
    assert "1 message not found" in twice.stderr

    assert "celery: 1 message put back" in ok("-A", "shop", "dead", "retry", "--all")
    assert ok("-A", "shop", "dead", "retry", "--all") == "nothing is parked\n"
    assert (project.depth("ready"), project.depth("dead")) == (2, 0)


def test_purge_of_all_asks_first(project: Project) -> None:
    park(project, 2)
    refused = project.run("-A", "shop", "dead", "purge", "--all", typed="n\n")
    assert refused.returncode == 1
    assert project.depth("dead") == 2
    assert "celery: 2 messages deleted" in project.ok("-A", "shop", "dead", "purge", "--all", "--force")
    assert parked(project) == []


def test_what_is_no_message_can_be_shown_and_deleted(redis_url: str, tmp_path: Path) -> None:
    project = Project(tmp_path, broker=redis_url)
    with redis.Redis.from_url(redis_url) as server:
        server.lpush("celery", b"\x1b[2J no message \xff")
    with project.worker("-c", "1") as worker:
        worker.until(lambda: project.depth("dead") == 1, "it is parked")
    (letter,) = parked(project)
    shown = project.ok("-A", "shop", "dead", "show", letter["id"])
    assert "no message" in shown
    assert "\x1b" not in shown
    assert "1 message deleted" in project.ok("-A", "shop", "dead", "purge", letter["id"])

"""The commands on RabbitMQ, which can't tell everything that the other brokers can."""

from __future__ import annotations

from pathlib import Path

from tests.cli.support import Project


def test_commands_on_rabbitmq(rabbit_url: str, tmp_path: Path) -> None:
    project = Project(tmp_path, broker=rabbit_url, backend="rpc://")
    task_id = project.ok("-A", "shop", "call", "--force", "shop.nowhere", "1").strip()
    with project.worker("-c", "1") as worker:
        assert "as long as the connection to RabbitMQ lives" in worker.out
        assert "guest:**@" in worker.out
        assert project.ok("-A", "shop", "call", "shop.add", "1", "2", "--wait", "30") == "3\n"
        worker.until(lambda: project.depth("dead") == 1, "the unknown task is parked")

    elsewhere = project.run("-A", "shop", "result", task_id)
    assert elsewhere.returncode == 2
    assert "it cannot be read here" in elsewhere.stderr

    (letter,) = project.json("-A", "shop", "dead", "list")
    assert (letter["task"], letter["task_id"]) == ("shop.nowhere", task_id)
    assert "celery: 1 message put back" in project.ok("-A", "shop", "dead", "retry", letter["id"])
    assert (project.depth("ready"), project.depth("dead")) == (1, 0)
    assert "celery: 1 message deleted" in project.ok("-A", "shop", "purge", "--force")
    assert project.depth("ready") == 0

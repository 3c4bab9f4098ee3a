"""`celeriac call` and `celeriac result`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.support import Project


def test_call_and_result(any_project: Project) -> None:
    run = any_project.run
    task_id = any_project.ok("-A", "shop", "call", "shop.add", "--args", "[20]", "--kwargs", '{"y": 22}').strip()

    waiting = run("-A", "shop", "result", task_id)
    assert (waiting.returncode, waiting.stdout) == (3, "")
    assert "has not ended: PENDING" in waiting.stderr

    with any_project.worker("-c", "1"):
        assert any_project.ok("-A", "shop", "result", task_id, "--wait", "30") == "42\n"
        known = any_project.json("-A", "shop", "result", task_id)
        assert (known["id"], known["state"], known["result"], known["error"]) == (task_id, "SUCCESS", 42, None)


def test_task_that_fails(project: Project) -> None:
    with project.worker("-c", "1"):
        failed = project.run(
            "-A", "shop", "call", "shop.fail", '"bad \x1b[31mluck"'.replace("\x1b", "\\u001b"), "--wait", "30"
        )
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "FAILURE" in failed.stderr
    assert "ValueError: bad \\x1b[31mluck" in failed.stderr
    task_id = failed.stderr.split()[1].rstrip(":")

    told = project.run("-A", "shop", "result", task_id, "--traceback")
    assert told.returncode == 1
    assert "in fail" in told.stderr
    known = json.loads(project.run("-A", "shop", "result", task_id, "--json").stdout)
    assert known["state"] == "FAILURE"
    assert known["error"]["type"] == "ValueError"
    assert "raise ValueError(text)" in known["traceback"]


def test_negative_numbers(project: Project) -> None:
    with project.worker("-c", "1"):
        assert project.ok("-A", "shop", "call", "shop.add", "--wait", "30", "--", "-1", "-2") == "-3\n"


def test_result_that_does_not_come(project: Project) -> None:
    late = project.run("-A", "shop", "call", "shop.add", "1", "--wait", "0.2")
    assert late.returncode == 1
    assert "has not ended after 0.2 s; look again with: celeriac result" in late.stderr


def test_calls_are_checked_when_the_app_is_known(project: Project) -> None:
    unknown = project.run("-A", "shop", "call", "shop.ad", "1")
    assert unknown.returncode == 1
    assert "did you mean 'shop.add'?" in unknown.stderr
    misfit = project.run("-A", "shop", "call", "shop.add", "1", "2", "3")
    assert misfit.returncode == 2
    assert "add(x: int, y: int = 1)" in misfit.stderr
    assert project.depth("ready") == 0


def test_calls_by_name_need_the_broker_only(any_project: Project) -> None:
    broker = _broker_url(any_project)
    task_id = any_project.ok("--broker", broker, "--result-backend", broker, "call", "shop.add", "1").strip()
    any_project.ok("-A", "shop", "call", "--force", "elsewhere.task")
    with any_project.worker("-c", "1"):
        assert any_project.ok("-A", "shop", "result", task_id, "--wait", "30") == "2\n"


def test_options_of_a_call(project: Project) -> None:
    project.ok("-A", "shop", "call", "shop.add", "1", "--countdown", "3600")
    project.ok("-A", "shop", "call", "shop.add", "1", "--eta", "2999-01-01T00:00:00+01:00")
    assert (project.depth("delayed"), project.depth("ready")) == (2, 0)
    project.ok("-A", "shop", "call", "shop.add", "1", "--queue", "mail", "--priority", "3", "--expires", "3600")
    assert project.json("-A", "shop", "queues", "-Q", "mail")[0]["ready"] == 1
    expired = project.ok("-A", "shop", "call", "shop.add", "1", "--expires", "2000-01-01").strip()
    with project.worker("-c", "1"):
        told = project.run("-A", "shop", "result", expired, "--wait", "30")
    assert told.returncode == 1
    assert "REVOKED" in told.stderr


def test_results_that_are_not_kept(tmp_path: Path, redis_url: str) -> None:
    project = Project(tmp_path, broker=redis_url)
    for arguments in (["call", "shop.add", "1", "--wait", "1"], ["result", "x"]):
        done = project.run("-A", "shop", *arguments)
        assert done.returncode == 2
        assert "result backend" in done.stderr
    assert project.depth("ready") == 0


def _broker_url(project: Project) -> str:
    text = (project.directory / "shop.py").read_text()
    if "'broker': '" in text:
        return text.partition("'broker': '")[2].partition("'")[0]
    project.ok("-A", "shop", "queues")  # makes the file
    return f"sqlite:///{project.directory / '.celeriac' / 'broker.db'}"

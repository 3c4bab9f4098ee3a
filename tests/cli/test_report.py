"""`celeriac report`, and settings that reach a real worker from the environment, the command line and a profile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cli.support import Project


def limits(project: Project) -> Any:
    return json.loads(project.ok("-A", "shop", "call", "shop.limits", "--wait", "20"))


def test_each_setting_is_shown_with_its_origin(project: Project) -> None:
    (project.directory / "settings.py").write_text(
        "CELERY_ACKS_LATE = False\nCELERYD_POOL_PUTLOCKS = True\nOTHER = 1\n"
    )
    with (project.directory / "shop.py").open("a") as shop:
        shop.write(
            "app.config_from_object('settings')\n"
            "app.conf.update(MY_TOKEN='geheim', result_backend='redis://u:geheim@h', task_default_priority=4)\n"
            "add.max_retries = 8\n"
        )
    done = project.run("-A", "shop", "report", "--json", CELERIAC_TASK_TIME_LIMIT="4000", CELERIAC_TASK_CRASH_LIMTI="2")
    assert done.returncode == 0, done.stderr
    assert "did you mean CELERIAC_TASK_CRASH_LIMIT?" in done.stderr
    assert "geheim" not in done.stdout
    found = json.loads(done.stdout)
    assert (found["program"]["app"], found["program"]["profile"]) == ("shop", "safe")
    assert found["program"]["results"] == "redis://u:**@h"
    settings = {row["setting"]: row for row in found["settings"]}
    assert settings["task_time_limit"] == {
        "setting": "task_time_limit", "value": 4000.0, "origin": "environment CELERIAC_TASK_TIME_LIMIT",
        "Celery's default": None,
    }  # fmt: skip
    assert settings["task_acks_late"] == {"setting": "task_acks_late", "value": False, "origin": "module settings"}
    assert settings["task_default_priority"]["origin"] == "app.conf"
    assert settings["MY_TOKEN"]["value"] == "********"
    assert settings["broker_heartbeat"] == {
        "setting": "broker_heartbeat", "value": 10.0, "origin": "default", "Celery's default": 120.0,
    }  # fmt: skip
    assert "task_serializer" not in settings
    (idle,) = found["without_effect"]
    assert (idle["setting"], idle["value"], idle["origin"]) == ("worker_pool_putlocks", True, "module settings")
    assert "executor" in idle["why"]
    tasks = {task["task"]: task["options"] for task in found["tasks"]}
    assert (tasks["shop.add"], tasks["shop.fail"]) == ({"max_retries": 8}, {"max_retries": 0})


def test_the_report_as_lines(project: Project) -> None:
    text = project.ok("-A", "shop", "report", CELERIAC_PROFILE="celery")
    lines = text.splitlines()
    assert "setting\tvalue\torigin\tCelery's default" in lines
    assert "task_acks_late\tFalse\tprofile celery\t" in lines
    assert "profile\t'celery'\tenvironment CELERIAC_PROFILE\t" in lines
    assert "shop.fail\tmax_retries=0" in lines
    assert not any(line.startswith("task_serializer") for line in lines)
    everything = project.ok("-A", "shop", "report", "--all")
    assert "task_serializer\t'json'\tdefault\t" in everything.splitlines()


def test_a_wrong_setting_ends_the_command_with_its_cure(project: Project) -> None:
    done = project.run("-A", "shop", "report", CELERIAC_TASK_TIME_LIMIT="soon")
    assert done.returncode == 2
    assert done.stderr.strip().endswith("wanted is number of seconds above 0, or None")


def test_a_workers_settings_from_everywhere(tmp_path: Path) -> None:
    project = Project(tmp_path, task_time_limit=100, task_soft_time_limit=50)
    with project.worker("-c", "1", CELERIAC_TASK_TIME_LIMIT="200") as worker:
        assert limits(project) == [200, 50]
        assert "hard 200 s, soft 50 s" in worker.out
    with project.worker(
        "-c", "1", "--", "task.time_limit=300", "task_soft_time_limit=none", CELERIAC_TASK_TIME_LIMIT="200"
    ) as worker:
        assert limits(project) == [300, None]
        assert "hard 300 s" in worker.out


def test_a_workers_pool_and_profile_from_the_settings(tmp_path: Path) -> None:
    project = Project(tmp_path, worker_pool="threads", worker_concurrency=3, profile="celery")
    with project.worker() as worker:
        assert limits(project) == [None, None]
        assert "3 threads" in worker.out


def test_wrong_settings_on_the_command_line(project: Project) -> None:
    done = project.run("-A", "shop", "worker", "--", "worker.concurency=1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'worker_concurrency'?" in done.stderr

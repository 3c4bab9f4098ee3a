"""`celeriac worker` as a program."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import psutil
import pytest

from tests.cli.support import ANSWER_S, Project
from tests.services import PrivateRedis, free_port


def test_says_what_runs_where_works_and_stops(any_project: Project) -> None:
    with any_project.worker("-n", "one@%h", "-c", "1", "--grace", "7", "-Q", "celery,mail") as worker:
        banner = worker.out
        for expected in ("one@", "queues     celery, mail", "1 process, 100 coroutines", "7 s for running tasks"):
            assert expected in banner
        assert "shop.add" in banner
        assert ("embedded" in banner) == ("sqlite" in banner)
        assert any_project.ok("-A", "shop", "call", "shop.add", "2", "3", "--wait", "30") == "5\n"
        assert any_project.ok("-A", "shop", "call", "shop.soon", '"x"', "--wait", "30", "--queue", "mail") == '"x"\n'
        assert worker.stop() == 0
        assert "has stopped." in worker.err


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGHUP])
def test_running_task_ends_before_the_worker_does(project: Project, signum: signal.Signals) -> None:
    with project.worker("-c", "1") as worker:
        task_id, gate = project.hold(worker)
        worker.process.send_signal(signum)
        worker.wait_for(f"{signum.name}: shutting down, running tasks have 25 s")
        gate.touch()
        assert worker.wait() == 0
    assert project.ok("-A", "shop", "result", task_id) == '"held"\n'


def test_under_nohup_a_hangup_changes_nothing(project: Project) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the worker inherits it
    try:
        with project.worker("-c", "1") as worker:
            worker.process.send_signal(signal.SIGHUP)
            assert project.ok("-A", "shop", "call", "shop.add", "1", "--wait", "30") == "2\n"
            assert "SIGHUP" not in worker.err
            assert worker.stop() == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_nothing_is_left_running(project: Project) -> None:
    with project.worker("-c", "2") as worker:
        core = psutil.Process(worker.process.pid)
        # The fork server, two processes, one for coroutines.
        worker.until(lambda: len(core.children(recursive=True)) >= 4, "all executors are there")
        family = core.children(recursive=True)
        assert worker.stop() == 0
    _gone, alive = psutil.wait_procs(family, timeout=ANSWER_S)
    assert not alive


@pytest.mark.parametrize(
    ("arguments", "in_worker", "in_main_thread", "executors"),
    [
        (("-P", "solo"), True, False, "1 process"),
        (("-P", "threads", "-c", "3"), False, None, "3 threads"),  # the main thread is one of them
        (("-P", "prefork", "-c", "1"), False, True, "1 process"),
    ],
)
def test_pools_of_celery(
    project: Project, arguments: tuple[str, ...], in_worker: bool, in_main_thread: bool | None, executors: str
) -> None:
    with project.worker(*arguments) as worker:
        assert f"executors  {executors}" in worker.out
        pid, main_thread = json.loads(project.ok("-A", "shop", "call", "shop.where", "--wait", "30"))
        assert (pid == worker.process.pid) == in_worker
        assert in_main_thread is None or main_thread == in_main_thread
        assert worker.stop() == 0


def test_limits_of_the_command_line_hold_in_the_executors(project: Project) -> None:
    with project.worker("-c", "1", "--time-limit", "9", "--soft-time-limit", "8") as worker:
        assert "hard 9 s, soft 8 s" in worker.out
        assert project.ok("-A", "shop", "call", "shop.limits", "--wait", "30") == "[9.0, 8.0]\n"


def test_children_are_renewed(project: Project) -> None:
    with project.worker("-c", "1", "--max-tasks-per-child", "1"):
        pids = {project.ok("-A", "shop", "call", "shop.where", "--wait", "30") for _ in range(2)}
    assert len(pids) == 2


def test_options_of_celery_without_meaning_are_accepted(project: Project) -> None:
    with project.worker("-c", "1", "--without-gossip", "--without-mingle", "-O", "fair") as worker:
        assert "--without-gossip has no meaning here" in worker.err


def test_json_logs_only(project: Project) -> None:
    with project.worker("-c", "1", "--log-json") as worker:
        project.ok("-A", "shop", "call", "shop.add", "1", "--wait", "30")
        worker.stop()
        assert worker.out == ""
        records = [json.loads(line) for line in worker.err.splitlines()]
    assert any(record["message"].endswith(" ready.") for record in records)
    assert any("succeeded" in record["message"] for record in records)


def test_embedded_broker_is_refused_in_production(project: Project) -> None:
    done = project.run("-A", "shop", "worker", CELERIAC_ENV="production")
    assert done.returncode == 2
    assert "--allow-embedded" in done.stderr
    with project.worker("-c", "1", CELERIAC_ENV="production", CELERIAC_ALLOW_EMBEDDED="1") as worker:
        assert "the embedded broker is for development" in worker.err


def test_wrong_options(project: Project) -> None:
    done = project.run("-A", "shop", "worker", "--soft-time-limit", "5", "--time-limit", "5")
    assert done.returncode == 2
    assert "task_soft_time_limit" in done.stderr
    assert "Traceback" not in done.stderr


def test_memory_broker_is_refused(tmp_path: Path) -> None:
    for pool in ("prefork", "solo"):
        done = Project(tmp_path, broker="memory://").run("-A", "shop", "worker", "-P", pool)
        assert done.returncode == 2
        assert "lives in one process only" in done.stderr


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_unreachable_broker(tmp_path: Path, scheme: str) -> None:
    if scheme == "redis":
        pytest.importorskip("hiredis")
    url = f"{scheme}://user:secret@127.0.0.1:{free_port()}/"
    done = Project(tmp_path, broker=url).run("-A", "shop", "worker", "--wait-for-broker", "0.5")
    assert done.returncode == 1
    assert "the broker cannot be reached (tried for 0.5 s" in done.stderr
    assert "trying for 0.5 s" in done.stderr
    assert "secret" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_broker_that_comes_later(tmp_path: Path, own_redis: PrivateRedis) -> None:
    project = Project(tmp_path, broker=own_redis.url, backend=own_redis.url)
    own_redis.kill()
    with project.worker_not_ready("-c", "1", "--wait-for-broker", "60") as worker:
        worker.wait_for("does not answer yet")
        own_redis.start()
        worker.wait_for(" ready.")


@pytest.mark.usefixtures("needs_redis")
def test_wrong_password(tmp_path: Path) -> None:
    with PrivateRedis(password="right") as server:
        url = server.url.replace("right", "wrong-one")
        project = Project(tmp_path, broker=url)
        for arguments in (["-A", "shop", "worker"], ["-A", "shop", "queues"], ["-A", "shop", "call", "shop.add", "1"]):
            done = project.run(*arguments)
            assert done.returncode == 1, done.stderr
            assert "correct user name and password" in done.stderr
            assert "wrong-one" not in done.stderr + done.stdout


def test_unreachable_result_backend(tmp_path: Path, redis_url: str) -> None:
    backend = f"redis://:secret@127.0.0.1:{free_port()}/0"
    done = Project(tmp_path, broker=redis_url, backend=backend).run("-A", "shop", "worker", "--wait-for-broker", "0.5")
    assert done.returncode == 1
    assert "the result backend cannot be reached" in done.stderr
    assert "secret" not in done.stderr + done.stdout


def test_more_modules_to_import(project: Project) -> None:
    (project.directory / "extras.py").write_text(
        "from shop import app\n\n\n@app.task(name='extras.twice')\ndef twice(x):\n    return 2 * x\n"
    )
    with project.worker("-c", "1", "-I", "extras") as worker:
        assert "extras.twice" in worker.out
        assert project.ok("-A", "shop", "call", "extras.twice", "4", "--force", "--wait", "30") == "8\n"


def test_what_waits_can_be_deleted_first(project: Project) -> None:
    project.ok("-A", "shop", "call", "shop.add", "1")
    with project.worker("-c", "1", "--purge", "--disable-prefetch", "-S", "state.db") as worker:
        assert "--purge: 1 messages deleted from celery" in worker.err
        assert "--statedb has no meaning here" in worker.err

"""What a worker logs: where it goes, in which form, and whose it is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from celeriac.client.result import AsyncResult
from tests.e2e.harness import DEADLINE_S, Scene, WorkerProcess

PROGRAM = "tests.e2e.logging_app"

# The broker plays no part in it.
pytestmark = pytest.mark.parametrize("place", ["sqlite"], indirect=True)


def send(scene: Scene, task: str, *args: Any) -> AsyncResult[Any]:
    return scene.app.send_task(f"{PROGRAM}.{task}", args, queue=scene.queue)


def done(scene: Scene, task: str, *args: Any) -> AsyncResult[Any]:
    """Send a task and wait until it has ended."""
    result = send(scene, task, *args)
    result.get(timeout=DEADLINE_S, propagate=False)
    return result


def until(scene: Scene, worker: WorkerProcess, text: str) -> str:
    """Wait until a worker has logged something: the last line of a task may come after its result."""
    scene.until(lambda: text in worker.log, f"{text!r} is logged")
    return worker.log


def test_lines_of_text(scene: Scene) -> None:
    worker = scene.worker("-A", PROGRAM, "-c", "1")
    result = done(scene, "logs", "kiwi")
    name = f"{PROGRAM}.logs[{result.id}]"
    log = until(scene, worker, "succeeded")

    def has(pattern: str) -> None:
        stamp = r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}: "
        assert len(re.findall(stamp + pattern + "$", log, re.MULTILINE)) == 1, pattern

    has(rf"INFO/MainProcess\] Task {re.escape(name)} received")
    has(rf"INFO/process-1\] {re.escape(name)}: from the task: kiwi")
    has(r"WARNING/process-1\] from a library: kiwi")
    has(r"ERROR/process-1\] from the root: kiwi")
    has(r"WARNING/process-1\] printed kiwi twice")
    has(r"WARNING/process-1\] to stderr: kiwi")
    has(r"WARNING/process-1\] half a line: kiwi")
    has(rf"INFO/process-1\] Task {re.escape(name)} succeeded in [\d.e-]+s: 'kiwi'")
    assert "\nfrom C: kiwi\n" in f"\n{log}"
    assert "\x1b" not in log, "colours belong on terminals"

    failed, expected, retried = (
        done(scene, "fails", "plum"),
        done(scene, "throws", "fig"),
        done(scene, "retries", "pear"),
    )
    log = until(scene, worker, f"{retried.id}] succeeded")
    assert f"Task {PROGRAM}.fails[{failed.id}] raised unexpected: ValueError('plum')\nTraceback" in log
    assert 'logging_app.py", line' in log.split("raised unexpected")[1]
    assert f"INFO/process-1] Task {PROGRAM}.throws[{expected.id}] raised expected: KeyError('fig')" in log
    assert re.search(rf"Task {PROGRAM}.retries\[{retried.id}\] retry: Retry in [\d.e-]+s: ValueError\('pear'\)\n", log)
    assert log.count("Traceback") == 1


def test_json_says_whose_each_record_is(scene: Scene) -> None:
    worker = scene.worker("-A", PROGRAM, "-c", "1", "--threads", "2", "--async", "5", "--log-json")
    sent = {
        word: (task, send(scene, task, word))
        for word, task in {
            "kiwi": "logs", "plum": "logs_in_thread", "fig": "logs_in_thread", "pear": "logs_async", "lime": "logs_async"
        }.items()
    }  # fmt: skip
    for word, (_, result) in sent.items():
        assert result.get(timeout=DEADLINE_S) == word
    failed, retried = done(scene, "fails", "grape"), done(scene, "retries", "date")
    log = until(scene, worker, "'date'")
    records = [json.loads(line) for line in log.splitlines() if not line.startswith("from C: ")]
    for word, (task, result) in sent.items():
        said = [record for record in records if record["message"].endswith((f": {word}", f"{word} twice"))]
        wanted = {"from the task", "from a library", "from the root", "printed", "to stderr"}
        assert len(said) >= 5
        for start in wanted:
            mine = [record for record in said if record["message"].startswith(start)]
            assert mine
            assert {(one.get("task"), one.get("task_id")) for one in mine} == {(f"{PROGRAM}.{task}", result.id)}, start
        halves = [record for record in records if record["message"].strip().startswith(("half", "and half"))]
        assert {one["logger"] for one in halves} == {"celeriac.redirected"}
        assert all(one["task_id"] in {other.id for _, other in sent.values()} for one in halves)

    def of(result: AsyncResult[Any], start: str) -> list[dict[str, Any]]:
        return [one for one in records if one.get("task_id") == result.id and one["message"].startswith(start)]

    (end,) = of(failed, f"Task {PROGRAM}.fails[{failed.id}] raised unexpected")
    assert (end["level"], end["retries"], end["exc"]) == ("ERROR", 0, "ValueError('grape')")
    assert "ValueError: grape" in end["traceback"]
    assert end["runtime"] >= 0
    (second,) = of(retried, "second run")
    assert (second["order"], second["task"]) == (7, f"{PROGRAM}.retries")
    assert [one["retries"] for one in of(retried, f"Task {PROGRAM}.retries[{retried.id}] succeeded")] == [1]
    ready = [one for one in records if one["message"].endswith("ready.")]
    assert len(ready) == 1
    assert "task_id" not in ready[0]


def test_formats_and_levels_are_settings(scene: Scene) -> None:
    settings = {
        "worker_log_format": "ROOT %(asctime)s %(levelname)s %(task_id)s %(message)s",
        "worker_log_datefmt": "at",
        "worker_task_log_format": "TASK %(asctime)s %(task_name)s %(message)s",
        "worker_task_log_datefmt": "then",
        "worker_redirect_stdouts_level": "ERROR",
    }
    worker = scene.worker("-A", PROGRAM, "-c", "1", "-l", "warning", settings=settings, ready=False)
    result = done(scene, "logs", "kiwi")
    log = until(scene, worker, "half a line: kiwi")
    assert f"ROOT at WARNING {result.id} from a library: kiwi\n" in log
    assert f"ROOT at ERROR {result.id} printed kiwi twice\n" in log
    assert "from the task" not in log
    assert "succeeded" not in log


def test_what_is_printed_stays_where_it_goes_if_the_setting_says_so(scene: Scene) -> None:
    worker = scene.worker("-A", PROGRAM, "-c", "1", settings={"worker_redirect_stdouts": False})
    done(scene, "logs", "kiwi")
    assert "\nto stderr: kiwi\n" in until(scene, worker, "to stderr: kiwi\n")


def test_the_programs_own_root_logger_is_left_alone(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("E2E_LOGGING", "own root")
    worker = scene.worker("-A", PROGRAM, "-c", "1", settings={"worker_hijack_root_logger": False})
    result = done(scene, "logs", "kiwi")
    log = until(scene, worker, "succeeded")
    whose = f"{PROGRAM}.logs[{result.id}]"
    assert f"OWN {PROGRAM} {whose} from the task: kiwi\n" in log
    assert f"OWN third.party {whose} from a library: kiwi\n" in log
    assert f"OWN celeriac.redirected {whose} printed kiwi twice\n" in log
    assert "OWN celeriac.worker ???[???] " in log
    assert log.count("from the task: kiwi") == 1
    assert "WARNING/" not in log


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("setup_logging", ["SIGNAL own set up with 20 None False", "SIGNAL tests.e2e.logging_app from the task: kiwi"]),
        ("after_setup", ["AFTER from a library: kiwi", "AFTER-TASK from the task: kiwi"]),
    ],
)
def test_receivers_have_their_way(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, kind: str, expected: list[str]
) -> None:
    monkeypatch.setenv("E2E_LOGGING", kind)
    worker = scene.worker("-A", PROGRAM, "-c", "1")
    done(scene, "logs", "kiwi")
    log = until(scene, worker, "succeeded")
    for line in expected:
        assert f"\n{line}\n" in log
    assert "INFO/" not in log


def test_log_files(scene: Scene, tmp_path: Path) -> None:
    worker = scene.worker("-A", PROGRAM, "-c", "1", "-f", f"{tmp_path}/%n%I.log", ready=False)
    node = worker.name
    core, executor = tmp_path / f"{node}.log", tmp_path / f"{node}-1.log"
    first = done(scene, "logs", "kiwi")

    def until_in(file: Path, text: str) -> None:
        scene.until(lambda: file.exists() and text in file.read_text(), f"{text!r} stands in {file.name}")

    until_in(executor, f"{first.id}] succeeded")
    until_in(core, f"{node}@e2e ready.")
    assert "from the task: kiwi" in executor.read_text()
    assert "from the task" not in core.read_text()
    assert f"{first.id}] received" in core.read_text()
    assert "from the task" not in worker.log
    assert "from C: kiwi" in worker.log
    for file in (core, executor):
        file.rename(file.with_suffix(".1"))  # as logrotate does
    second = done(scene, "logs", "plum")
    until_in(executor, f"{second.id}] succeeded")
    until_in(core, f"{second.id}] received")


def test_a_log_file_that_cannot_be_written_is_an_error_at_start(scene: Scene, tmp_path: Path) -> None:
    worker = scene.worker("-A", PROGRAM, "-c", "1", "-f", f"{tmp_path}/none/w.log", ready=False)
    assert worker.wait() == 2
    assert "none/w.log can't be written" in worker.log


def test_a_handler_that_raises_does_no_harm(scene: Scene) -> None:
    worker = scene.worker("-A", PROGRAM, "-c", "1")
    assert done(scene, "breaks_logging").get(timeout=DEADLINE_S) == "unharmed"
    assert done(scene, "retries", "kiwi").get(timeout=DEADLINE_S) == "kiwi"
    log = until(scene, worker, "RuntimeError: this handler is broken")
    assert "to nobody" in log
    assert "could not be written" in log

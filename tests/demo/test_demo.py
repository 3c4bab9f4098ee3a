"""The demo, and its parts."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from celeriac.backends.memory import MemoryBackend
from celeriac.core.effects import Record
from celeriac.core.message import QueueDepth
from celeriac.core.ports import ResultReader
from celeriac.core.settings import Settings
from celeriac.demo.app import ServerBusy, http_get
from celeriac.demo.measure import measure_file
from celeriac.demo.progress import Job, Tally
from celeriac.demo.report import Facts, find_crashes, problems
from celeriac.demo.sources import every_nth, how_many_fit, library_files
from celeriac.demo.website import website
from celeriac.wire.result_meta import ResultMeta, encode

COMMAND = [sys.executable, "-m", "celeriac", "demo"]


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    # Whatever broker the environment names, the demo must not touch it. (And a shell that runs the tests in the background
    # would have the demo ignore Ctrl-C, as they do.)
    environment = {
        **os.environ,
        "TMPDIR": str(tmp_path),
        "CELERIAC_BROKER_URL": "redis://127.0.0.1:1",
        "CELERIAC_ENV": "production",
    }
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_whole_demo(tmp_path: Path) -> None:
    with start(tmp_path, "--files", "800", "--pages", "60") as demo:
        output, _ = demo.communicate(timeout=100)
    assert demo.returncode == 0, output
    assert re.search(r"kill -9 +executor \d+", output)
    sent = re.search(r"^sent +(\d+) files and 60 pages", output, re.MULTILINE)
    assert sent is not None
    files = int(sent[1])  # fewer than 800 where the machine is busy
    assert 0 < files <= 800
    numbers = dict(re.findall(r"^(\S.*?) {2,}(\d+)(?: of \d+)?$", output, re.MULTILINE))
    assert int(numbers["tasks"]) == files + 60
    assert numbers["pages fetched"] == "60"
    assert int(numbers["files measured"]) + int(numbers["failures"]) == files
    assert int(numbers["retries"]) == int(numbers["requests that the web server failed"]) > 0
    assert int(numbers["executors killed"]) >= 1
    assert f"CHECK PASSED: each of {files} files counted once, each of 60 pages fetched" in output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_demo_leaves_nothing_behind(tmp_path: Path, signum: signal.Signals) -> None:
    with start(tmp_path) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith("sent"):
                break
        family = psutil.Process(demo.pid).children(recursive=True)
        assert family
        demo.send_signal(signum)
        output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert "interrupted" in output
    assert "Traceback" not in output
    assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert list(tmp_path.iterdir()) == []


def test_measures(tmp_path: Path) -> None:
    file = tmp_path / "some.py"
    file.write_text("class A:\n    def f(self):\n        if 1:\n            pass\n\nasync def g(): pass\n")
    assert measure_file(str(file)) == {
        "path": str(file),
        "lines": 6,
        "functions": 2,
        "classes": 1,
        "longest_function": "f",
        "longest_function_lines": 3,
        "deepest_nesting": 3,
    }
    file.write_text("def")
    with pytest.raises(SyntaxError):
        measure_file(str(file))


def test_sources() -> None:
    files = library_files()
    assert len(files) == len(set(files)) > 500
    assert not [path for path in files if "site-packages" in path]
    assert every_nth(["a", "b", "c", "d"], 2) == ["a", "c"]
    assert every_nth(["a", "b"], 5) == ["a", "b"]
    assert how_many_fit(files[:50], 1000.0, 2) == 50
    assert how_many_fit(files[:50], 0.0, 2) == 0


def test_website_fails_the_same_requests_in_each_run() -> None:
    async def attempts(url: str) -> list[str]:
        outcomes = []
        for _ in range(30):
            try:
                outcomes.append(str(len(await http_get(url))))
            except ConnectionError as error:
                outcomes.append(type(error).__name__)
        return outcomes

    runs = []
    for _ in range(2):
        with website(seed=3) as site:
            runs.append(asyncio.run(attempts(site.url(1))))
            assert site.served + site.failed == 30
    assert runs[0] == runs[1]
    assert ServerBusy.__name__ in runs[0]
    assert len({outcome for outcome in runs[0] if outcome.isdecimal()}) == 1


def results(**values: Any) -> ResultReader:
    """Return a reader that knows what it was told."""
    reader = MemoryBackend("memory://", Settings()).reader()
    for task_id, value in values.items():
        document = encode(ResultMeta(status="SUCCESS", result=value, task_id=task_id), max_bytes=10_000)
        reader.store([Record(task_id, "SUCCESS", document, None)])
    return reader


def facts(*depths: QueueDepth) -> Facts:
    return Facts(["a", "b"], 2, 1, 1.0, [], [], 0, depths)


def tally(reader: ResultReader, *jobs: Job) -> Tally:
    made = Tally(reader, jobs)
    made.look()
    return made


A, B, PAGE = Job("1", "a", True), Job("2", "b", True), Job("3", "u", False)


def test_check_passes_when_all_is_there_once() -> None:
    stored = results(**{"1": {"path": "a"}, "2": {"path": "b"}, "3": {"url": "u"}})
    assert list(problems(facts(QueueDepth("files", 0, 0, 0, 0)), tally(stored, A, B, PAGE))) == []


@pytest.mark.parametrize(
    ("values", "jobs", "depths", "problem"),
    [
        ({"1": {"path": "a"}, "3": {}}, (A, B, PAGE), (), "1 files were not counted: b"),
        ({"1": {"path": "a"}, "2": {"path": "b"}, "3": {}}, (A, A, B, PAGE), (), "1 files were counted twice: a"),
        ({"1": {"path": "b"}, "2": {"path": "b"}, "3": {}}, (A, B, PAGE), (), "1 files have the result of another"),
        ({"1": {"path": "a"}, "2": {"path": "b"}}, (A, B, PAGE), (), "1 pages were not fetched: u"),
        (
            {"1": {"path": "a"}, "2": {"path": "b"}, "3": {}},
            (A, B, PAGE),
            (QueueDepth("files", 0, 0, 2, 0),),
            "queue 'files' is not empty: 0 ready, 0 delayed, 2 claimed, 0 dead",
        ),
    ],
)
def test_check_fails_when_something_is_not_as_it_must_be(
    values: dict[str, Any], jobs: tuple[Job, ...], depths: tuple[QueueDepth, ...], problem: str
) -> None:
    found = list(problems(facts(*depths), tally(results(**values), *jobs)))
    assert any(text.startswith(problem) for text in found), found


def test_crashes_are_read_from_the_log() -> None:
    lines = ["ready.", "task demo.measure[0198-ab]: its executor (pid 17) died, killed by signal 9; crash 1 of 3"]
    assert [(crash.task_id, crash.pid) for crash in find_crashes(lines)] == [("0198-ab", 17)]

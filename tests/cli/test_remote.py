"""`celeriac inspect`, `control`, `status` and `events` on a worker of ours; on one of Celery's: tests/interop."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import pytest
from rich.console import Console

from celeriac.cli.events import _print_line
from celeriac.cli.events_screen import Screen
from celeriac.cli.remote import arguments_of, find_command
from celeriac.client.events.state import State
from tests.cli.support import Project, clean_environment
from tests.forge import forge

LONG = ("-d", "w@x", "-t", "60")


def test_a_worker_on_the_embedded_broker_answers(project: Project) -> None:
    """No server at all: letters go through the SQLite file."""
    with project.worker("-n", "w@x", "-c", "1"):
        assert project.ok("-A", "shop", "status", *LONG) == "->  w@x: OK\n\n1 node online.\n"
        assert project.json("-A", "shop", "inspect", "ping", *LONG) == {"w@x": {"ok": "pong"}}
        shown = project.ok("-A", "shop", "inspect", "registered", *LONG)
        assert "->  w@x: OK\n    * shop.add\n" in shown
        answer = project.json("-A", "shop", "control", "enable_events", *LONG)
        assert answer == [{"w@x": {"ok": "task events enabled"}}]
        refused = project.ok("-A", "shop", "control", "rate_limit", "shop.nowhere", "1/s", *LONG)
        assert refused == "->  w@x: ERROR\n    unknown task\n"
        assert "shutdown: sent" in project.ok("-A", "shop", "control", "shutdown", "-d", "other@x")
        nobody = project.run("-A", "shop", "status", "-p", "other@*", "-t", "0.2")
        assert (nobody.returncode, nobody.stderr) == (69, "Error: No nodes replied within time constraint\n")


def test_events_are_printed_as_lines_where_nobody_looks(project: Project) -> None:
    command = ("-A", "shop", "events", "--enable")
    with (
        project.worker("-n", "w@x", "-c", "1"),
        (project.directory / "lines").open("w+") as lines,
    ):
        printing = forge().start(command, cwd=project.directory, env=clean_environment(), stdout=lines, stderr=lines)
        try:
            seen = ""
            give_up_at = time.monotonic() + 60
            while "task-succeeded" not in seen:
                assert time.monotonic() < give_up_at, seen
                project.ok("-A", "shop", "call", "shop.add", "1")
                seen = (project.directory / "lines").read_text()
        finally:
            printing.kill()
    started = next(line for line in seen.splitlines() if " task-received " in line)
    assert " w@x task-received " in started
    assert "name=shop.add" in started
    assert "worker-heartbeat" in seen


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("inspect", "actives"), "did you mean 'active'?"),
        (("inspect", "shutdown"), "is a command of `celeriac control`"),
        (("control", "ping"), "is a command of `celeriac inspect`"),
        (("control", "pool_grow", "many"), "n='many'"),
        (("control", "heartbeat", "now"), "takes no arguments; 'now' is too much"),
        (("events", "--camera", "nowhere.Camera"), "--camera nowhere.Camera"),
        (("events", "--camera", "json.JSONDecoder"), "is no subclass of celeriac.events.snapshot.Polaroid"),
        (("status", "-t", "0"), "timeout"),
    ],
)
def test_mistakes_are_told(project: Project, arguments: tuple[str, ...], says: str) -> None:
    done = project.run("-A", "shop", *arguments)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_commands_are_listed(project: Project) -> None:
    inspect, control = (project.ok("-A", "shop", kind, "--list") for kind in ("inspect", "control"))
    assert "active_queues" in inspect
    assert "pool_grow" in control
    assert "pool_grow" not in inspect
    assert "hello" not in inspect, "a command of workers among themselves"


def test_arguments_are_read_as_the_command_says() -> None:
    def read(kind: str, name: str, *given: str) -> dict[str, object]:
        return arguments_of(name, find_command(kind, name), given)  # type: ignore[arg-type]

    assert read("control", "pool_grow", "2") == {"n": 2}
    assert read("control", "pool_grow") == {}
    assert read("control", "terminate", "KILL", "1", "2") == {"signal": "KILL", "task_id": ["1", "2"]}
    assert read("inspect", "query_task", "1", "2") == {"ids": ["1", "2"]}
    assert read("inspect", "conf", "yes") == {"with_defaults": True}


def test_the_live_view_shows_workers_and_tasks() -> None:
    state, now = State(), time.time()
    common = {"hostname": "w@x", "timestamp": now, "local_received": now}
    state.event(
        {"type": "worker-online", "freq": 2.0, "active": 7, "sw_ident": "py-celeriac", "loadavg": [0.5], **common}
    )
    state.event({"type": "task-received", "uuid": "some-id", "name": "shop.add", "args": "(1,)", "clock": 1, **common})
    state.event(
        {"type": "task-succeeded", "uuid": "some-id", "result": "[bold]\x1b[2J", "runtime": 0.25, "clock": 2, **common}
    )
    console = Console(file=io.StringIO(), width=160, height=30)
    console.print(Screen(state, "redis://localhost"))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("redis://localhost", "w@x", "ONLINE", "7", "some-id", "shop.add", "SUCCESS", "0.250", "[bold]"):
        assert part in shown
    assert "\x1b[2J" not in shown, "what stands in an event does nothing to the terminal"
    assert json.dumps(shown).count("some-id") == 1


@pytest.mark.parametrize("timestamp", [None, "now", 1e300, float("nan")])
def test_an_event_of_no_time_is_shown_as_any_other(timestamp: Any, capsys: pytest.CaptureFixture[str]) -> None:
    _print_line({"type": "task-custom", "hostname": "w@x", "timestamp": timestamp, "uuid": "1"})
    assert capsys.readouterr().out == "- w@x task-custom uuid=1\n"

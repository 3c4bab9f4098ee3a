"""`celeriac schedule` and `celeriac beat`, and `celeriac worker --beat`."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from tests.cli.support import STOP_S, Project, clean_environment
from tests.services import wait_until

SCHEDULE = {
    "nightly": {"task": "shop.add", "schedule": "30 2 * * *", "args": [1]},
    "often": {"task": "shop.add", "schedule": 0.2, "args": [2], "expires": None},
}


@pytest.fixture
def planned(tmp_path: Path) -> Project:
    """A project with a schedule, on the embedded broker."""
    return Project(tmp_path, beat_schedule=SCHEDULE, timezone="Europe/Berlin")


def test_the_schedule_is_told_and_changed(planned: Project) -> None:
    def schedule(*arguments: str) -> str:
        return planned.ok("-A", "shop", "schedule", *arguments)

    lines = [line.split("\t") for line in schedule("list").splitlines()]
    assert lines[0] == ["entry", "task", "schedule", "next", "last", "runs", "state", "from"]
    assert [(line[0], line[2], line[5], line[6], line[7]) for line in lines[1:]] == [
        ("nightly", "30 2 * * *", "0", "on", "settings"),
        ("often", "every 0.2 s", "0", "on", "settings"),
    ]
    ticks = planned.json("-A", "shop", "schedule", "next", "nightly", "-n", "400")
    assert len({tick["at"][:10] for tick in ticks}) == 400
    shown = [datetime.fromisoformat(tick["at"]) for tick in ticks]
    # Once a year the time is skipped; the rest is half past two on the clocks of the zone.
    assert sum((tick.hour, tick.minute) == (2, 30) for tick in shown) >= 398
    assert {tick["zone"] for tick in ticks} == {"Europe/Berlin"}

    assert schedule("pause", "often") == "often: paused\n"
    options = ("--cron", "*/5 9-17 * * mon-fri", "--tz", "Asia/Tokyo", "-a", "[7]", "-o", '{"priority": 3}')
    assert schedule("add", "mails", "--task", "shop.add", *options) == "mails: added\n"
    found = {line["entry"]: line for line in planned.json("-A", "shop", "schedule", "list")}
    assert found["often"]["state"] == "paused"
    assert found["often"]["next"] is None
    assert found["mails"]["schedule"] == "*/5 9-17 * * mon-fri Asia/Tokyo"
    assert found["mails"]["next"].endswith("+09:00")
    assert (found["mails"]["args"], found["mails"]["options"]) == ([7], {"priority": 3})
    task_id = schedule("run", "mails").strip()
    assert planned.depth("ready") == 1
    assert len(task_id) == 36
    assert schedule("remove", "mails") == "mails: removed\n"
    assert schedule("resume", "often") == "often: resumed\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run", "nope"), "there is no schedule entry 'nope'; there are: nightly, often"),
        (("remove", "often"), "'often' comes from the settings: remove it there, or pause it"),
        (("add", "x", "--task", "shop.add"), "say when: one of --cron, --every and --solar"),
        (("add", "x", "--task", "shop.add", "--cron", "61 * * * *"), "61 is out of range, which goes from 0 to 59"),
        (("add", "x", "--task", "shop.add", "--cron", "* * * * *", "--tz", "Mars"), "there is no time zone 'Mars'"),
        (("add", "x", "--task", "shop.add", "--every", "0"), "it must be longer than 0"),
        (("add", "x", "--task", "shop.add", "--solar", "sunset", "-33", "b"), "takes an event and two numbers"),
        (("add", "x", "--task", "shop.add", "--every", "9"), "misses the argument 'x'"),
        (("add", "x", "--task", "shop.none", "--every", "9"), "knows no task 'shop.none'"),
        (("add", "often", "--task", "shop.add", "--every", "9", "-a", "[1]"), "to replace it, say so (--replace)"),
    ],
)
def test_what_is_wrong_is_told(planned: Project, arguments: tuple[str, ...], told: str) -> None:
    done = planned.run("-A", "shop", "schedule", *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_beat_and_a_worker_with_beat_send_each_tick_once(planned: Project) -> None:
    command = [sys.executable, "-m", "celeriac", "-A", "shop", "beat", "--pidfile", "beat.pid", "--max-interval", "1"]
    with (planned.directory / "beat.err").open("wb") as err:
        beat = subprocess.Popen(command, cwd=planned.directory, env=clean_environment(), stderr=err)
    try:
        with planned.worker("-B", "-c", "1") as worker:

            def log() -> str:
                return (planned.directory / "beat.err").read_text() + worker.err

            wait_until(lambda: log().count("succeeded in") >= 10, "ten runs", deadline_s=STOP_S)
            again = planned.run("-A", "shop", "beat", "--pidfile", "beat.pid")
            assert again.returncode == 1
            assert "belongs to" in again.stderr
            beat.send_signal(signal.SIGTERM)
            assert beat.wait(STOP_S) == 0
            assert worker.stop() == 0
            sent = [line.rpartition("[")[2] for line in log().splitlines() if "Sending due task often" in line]
            assert len(sent) == len(set(sent))
            begun = [line for line in log().splitlines() if " received" in line]
            assert len(begun) <= len(sent)
            assert "beat: stopped." in log()
    finally:
        beat.kill()
        beat.wait()
    assert not (planned.directory / "beat.pid").exists()
    done = planned.run("-A", "shop", "beat", "-S", "shop:app")
    assert done.returncode == 2
    assert "is no celeriac.beat.Scheduler" in done.stderr

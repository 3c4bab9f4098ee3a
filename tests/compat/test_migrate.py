"""`celeriac migrate`: what a program uses that is otherwise here, from its sources and from its app."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

OLD = """\
from celery import Celery, bootsteps, shared_task
from celery.exceptions import Retry
from celery.worker.consumer import Consumer
try:
    from celery.backends.base import KeyValueStoreBackend
except ImportError:
    KeyValueStoreBackend = None
app = Celery("proj")
app.conf.update(worker_pool="gevent", broker_pool_limit=5, task_acks_late=True)
app.conf.worker_consumer = "x:Y"
app.steps["worker"].add(object)

@app.task(bind=True, once={"a": 1}, max_retries=3)
def work(self, app=None):
    self.start_strategy()
    work.apply_async(producer=None, countdown=3)

@app.task(base=object, once={"a": 1})
def other():
    app.backend.client.ping()
"""
GOOD = """\
from celery import Celery
app = Celery("good", broker="memory://")
app.conf.update(worker_pool_putlocks=False, task_acks_late=False)

@app.task
def add(x, y):
    return x + y
"""


def migrate(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CELERIAC_", "CELERY_"))}
    return subprocess.run(
        [sys.executable, "-m", "celeriac", *options],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def found(directory: Path, *options: str) -> list[dict[str, Any]]:
    done = migrate(directory, *options)
    assert "Traceback" not in done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


@pytest.fixture
def old(tmp_path: Path) -> Path:
    (tmp_path / "proj.py").write_text(OLD)
    (tmp_path / "settings.py").write_text("CELERYD_POOL_PUTLOCKS = True\nCELERY_TASK_ACKS_LATE = True\nOTHER = 1\n")
    (tmp_path / "broken.py").write_text("def (:\n")
    (tmp_path / "flask_app.py").write_text("import flask\napp = flask.Flask('x')\napp.steps = 1\n")
    (tmp_path / "Procfile").write_text(
        "web: gunicorn proj\nworker: celery -A proj worker -P gevent -c 100\nflower: celery -A proj flower\n"
    )
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "x.py").write_text("import celery.bootsteps\n")
    return tmp_path


def test_what_the_sources_show(old: Path) -> None:
    rows = {(row["level"], row["where"], row["what"]): row for row in found(old, "migrate", "--json")}
    assert set(rows) == {
        ("stops", "proj.py:1", "import of celery.bootsteps"),
        ("stops", "proj.py:3", "import of celery.worker.consumer.Consumer"),
        ("stops", "proj.py:11", "app.steps"),
        ("stops", "proj.py:15", "self.start_strategy of a task"),
        ("stops", "proj.py:20", "app.backend.client"),
        ("stops", "Procfile:2", "celery -A proj worker -P gevent -c 100"),
        ("differs", "proj.py:5", "import of celery.backends.base.KeyValueStoreBackend"),
        ("differs", "proj.py:9", "setting worker_pool = 'gevent'"),
        ("differs", "proj.py:10", "setting worker_consumer"),
        ("differs", "proj.py:13", "option once of a task"),
        ("differs", "proj.py:16", "option producer of a call"),
        ("differs", "broken.py", "a source that can't be read"),
        ("differs", "Procfile:2", "celery -A proj worker -P gevent -c 100"),
        ("differs", "Procfile:3", "celery -A proj flower"),
        ("idle", "proj.py:9", "setting broker_pool_limit"),
        ("idle", "proj.py:18", "option once of a task"),
        ("idle", "settings.py:1", "setting CELERYD_POOL_PUTLOCKS"),
    }
    assert "worker_init" in rows["stops", "proj.py:1", "import of celery.bootsteps"]["instead"]
    assert rows["idle", "proj.py:9", "setting broker_pool_limit"]["instead"].startswith("a process has one connection")
    command = rows["differs", "Procfile:2", "celery -A proj worker -P gevent -c 100"]
    assert command["instead"] == "celeriac --as-celery -A proj worker -P gevent -c 100"


def test_exit_codes_levels_and_lines(old: Path, tmp_path: Path) -> None:
    done = migrate(old, "migrate", "--level", "stops")
    assert done.returncode == 1
    title, *lines = done.stdout.splitlines()
    assert title.split("\t") == ["level", "where", "what", "with Celeriac", "instead"]
    assert [line.split("\t")[:2] for line in lines] == [
        ["stops", "Procfile:2"],
        ["stops", "proj.py:1"],
        ["stops", "proj.py:3"],
        ["stops", "proj.py:11"],
        ["stops", "proj.py:15"],
        ["stops", "proj.py:20"],
    ]
    assert done.stderr == "6 stops, 8 differs, 3 idle\n"
    (tmp_path / "clean").mkdir()
    done = migrate(tmp_path / "clean", "migrate")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "nothing found that is otherwise here\n")


def test_what_the_app_shows(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(GOOD)
    rows = {row["what"]: row for row in found(tmp_path, "-A", "good", "migrate", "--json")}
    assert rows["default of task_time_limit"]["here"] == "3600.0; Celery's default is None"
    assert rows["default of task_time_limit"]["instead"].startswith("profile = 'celery'")
    assert rows["setting worker_pool_putlocks"]["level"] == "idle"
    assert "default of task_acks_late" not in rows, "the program says itself what it wants"
    assert migrate(tmp_path, "-A", "good", "migrate").returncode == 0


def test_what_stops_a_scheduler(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(
        GOOD
        + """
from celery.beat import Scheduler
class Own(Scheduler):
    Entry = None
app.conf.beat_scheduler = Own
app.conf.beat_schedule = {
    "fine": {"task": "good.unknown", "schedule": 3},
    "few": {"task": "extra", "schedule": 3, "args": (1,)},
}
@app.task(name="extra")
def extra(x, y):
    pass
"""
    )
    rows = {row["what"]: row for row in found(tmp_path, "-A", "good", "migrate", "--json") if row["level"] == "stops"}
    assert rows.keys() == {"setting beat_scheduler", "schedule entry 'few'"}
    assert "misses the argument 'y'" in rows["schedule entry 'few'"]["instead"]


def test_an_app_that_cannot_be_imported_is_a_finding(old: Path) -> None:
    (row,) = [row for row in found(old, "-A", "proj", "migrate", "--json") if row["where"] == "-A proj"]
    assert row["level"] == "stops"
    assert "has no celery.bootsteps" in row["here"]

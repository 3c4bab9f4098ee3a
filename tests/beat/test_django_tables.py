"""django-celery-beat's tables, written by the real package, read by our scheduler."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("way", "zones"),
    [(["-m"], "zones"), (["-m", "celeriac.compat", "-m"], "naive")],
    ids=["beside Celery, with time zones", "on celeriac.compat, without"],
)
def test_the_rows_of_django_celery_beat(way: list[str], zones: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CELERIAC_", "DJANGO_"))}
    done = subprocess.run(
        [sys.executable, *way, "tests.beat.django_tables", zones],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kind"] == "DatabaseScheduler"
    assert found["call"] == ["(1,)", "{'x': 2}", True]
    assert found["first"] == ["ends", "interval", "once"]
    # Two minutes: 10 s have passed before; `later` begins after 95 s with its first run, `ends` ends after 35 s.
    assert found["runs"] == {"interval": 11, "crontab": 2, "clocked": 1, "ends": 2, "later": 3, "own": 2}
    assert found["enabled"] == ["broken", "crontab", "interval", "later", "nine", "sun"]
    assert found["count"] == 12
    assert found["late_s"] < 0.1
    assert found["zone"] == "09:30 +0545"
    assert found["edited"] == {"later": 6, "new": 6, "own": 1}
    assert found["enabled again"] == 0
    assert found["goes on"] == {"interval": 3, "once": 1}
    assert done.stderr.count("periodic task 'broken' in the database can't be read") == 2  # once for each scheduler

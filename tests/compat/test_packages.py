"""Packages made for Celery, unmodified, in programs written for Celery: with a real worker, and Redis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from celeriac.backends import open_backend
from celeriac.core.settings import make_settings
from celeriac.exceptions import ImproperlyConfigured
from celeriac.torture.servers.service import wait_until
from tests.compat import environment
from tests.compat.running import PROGRAMS, run, worker
from tests.contrib.django_site import POSTGRES, postgres_schema


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_sentry(redis_url: str, tmp_path: Path) -> None:
    """Errors are captured in executors, once, with the task's context; the trace goes on from the caller; schedules are monitored."""
    file = tmp_path / "sentry"
    environment = {"BROKER_URL": redis_url, "SENTRY_FILE": str(file)}
    with worker("sentry_program", PROGRAMS, environment, tmp_path) as program:
        *errors, trace_id = run("sentry_program.py", PROGRAMS, environment).split("\n")[:-1]
        assert errors == ["ValueError('no order 7')", "KeyError('nothing to see')"]
        wait_until(lambda: len(lines(file)) == 8, "all envelopes are written")
        program.check_alive()
    check_ins = [line for line in lines(file) if line["type"] == "check_in"]
    assert [(line["monitor_slug"], line["status"]) for line in check_ins] == [
        ("every night", "in_progress"),
        ("every night", "ok"),
    ]
    assert len({line["check_in_id"] for line in check_ins}) == 1
    assert check_ins[0]["monitor_config"]["schedule"] == {"type": "crontab", "value": "30 2 * * *"}
    (event,) = [line for line in lines(file) if line["type"] == "event"]
    (value,) = event["exception"]["values"]
    assert (value["type"], value["value"]) == ("ValueError", "no order 7")
    assert value["mechanism"] == {"type": "celery", "handled": False}
    assert [frame["function"] for frame in value["stacktrace"]["frames"]][-1] == "fail"
    assert event["transaction"] == "sentry_program.fail"
    assert event["tags"]["celery_task_id"]
    assert event["extra"]["celery-job"]["task_name"] == "sentry_program.fail"
    transactions = {line["transaction"]: line for line in lines(file) if line["type"] == "transaction"}
    nightly = transactions.pop("sentry_program.nightly")
    assert set(transactions) == {"request", "sentry_program.fail", "sentry_program.expected", "sentry_program.works"}
    assert {line["contexts"]["trace"]["trace_id"] for line in (event, *transactions.values())} == {trace_id}
    assert nightly["contexts"]["trace"]["trace_id"] != trace_id, "what a scheduler sends begins a trace of its own"
    submitted = {span["span_id"]: span["description"] for span in transactions["request"]["spans"]}
    for name in ("fail", "expected", "works"):
        task = transactions[f"sentry_program.{name}"]
        assert submitted[task["contexts"]["trace"]["parent_span_id"]] == f"sentry_program.{name}"
        (span,) = task["spans"]
        assert span["op"] == "queue.process"
        assert span["data"]["messaging.destination.name"] == "celery"
        assert span["data"]["messaging.message.receive.latency"] >= 0


def test_opentelemetry(redis_url: str, tmp_path: Path) -> None:
    """Each run is a span under that of its publication, which is one under whatever published: a request, or a run."""
    file = tmp_path / "spans"
    environment = {"BROKER_URL": redis_url, "SPANS_FILE": str(file)}
    with worker("otel_program", PROGRAMS, environment, tmp_path):
        assert run("otel_program.py", PROGRAMS, environment) == "3\ndone\nValueError('broken')\n"
        wait_until(lambda: len(lines(file)) == 9, "all spans are written")
    spans = {line["context"]["span_id"]: line for line in lines(file)}

    def way(span: dict[str, Any]) -> list[str]:
        found = []
        while span:
            found.append(span["name"].replace("otel_program.", ""))
            span = spans.get(span["parent_id"], {})
        return found

    assert sorted(way(span) for span in spans.values() if span["kind"].endswith("CONSUMER")) == [
        ["run/add", "apply_async/add", "request"],
        ["run/again", "apply_async/again", "request"],
        ["run/again", "apply_async/again", "run/again", "apply_async/again", "request"],
        ["run/fail", "apply_async/fail", "request"],
    ]
    (failed,) = [span for span in spans.values() if span["name"] == "run/otel_program.fail"]
    assert failed["status"] == {"status_code": "ERROR", "description": "broken"}
    assert [event["name"] for event in failed["events"]] == ["exception"]


def test_django_celery_results_and_beat(redis_url: str, tmp_path: Path) -> None:
    """`result_backend = "django-db"`: its models and admin pages show what our workers store; chords are counted there."""
    site = PROGRAMS / "results_site"
    environment = {
        "BROKER_URL": redis_url,
        "RESULTS_DATABASE": str(tmp_path / "db.sqlite"),
        "DJANGO_SETTINGS_MODULE": "results_settings",
    }
    run("-m", site, environment, "django", "migrate", "--verbosity", "0")
    with worker("results_program", site, environment, tmp_path, "--beat"):
        said = json.loads(run("results_program.py", site, environment))
    assert said.pop("worker").startswith("celeriac@")
    assert said == {
        "add": 5,
        "row": {
            "status": "SUCCESS",
            "result": "5",
            "content_type": "application/json",
            "content_encoding": "utf-8",
            "task_name": "results_program.add",
            "task_args": "[2, 3]",
            "task_kwargs": "{}",
        },
        "failed": "KeyError('größe')",
        "traceback": True,
        "report": {"text": "a\0b", "nested": [1, None, {"ü": 2.5}]},
        "chord": 380,
        "often": ["[4, 4]", "8"],
        "group": [1, 2, 3],
        "state": True,
        "admin": [
            "ClockedSchedule",
            "CrontabSchedule",
            "GroupResult",
            "IntervalSchedule",
            "PeriodicTask",
            "SolarSchedule",
            "TaskResult",
        ],
        "forgotten": True,
        "counters": 0,
    }


def test_celery_reads_our_rows_and_we_celerys(tmp_path: Path) -> None:
    site = PROGRAMS / "results_site"
    variables = {
        "BROKER_URL": "memory://",
        "RESULTS_DATABASE": str(tmp_path / "db.sqlite"),
        "DJANGO_SETTINGS_MODULE": "results_settings",
    }
    run("-m", site, variables, "django", "migrate", "--verbosity", "0")
    run("results_exchange.py", site, variables, "store", "celery", on_celery=True)
    run("results_exchange.py", site, variables, "store", "ours")
    for who in ("celery", "ours"):
        read = [
            run("results_exchange.py", site, variables, "read", who, on_celery=on_celery) for on_celery in (True, False)
        ]
        assert [json.loads(one) for one in read] == 2 * [
            {
                "value": ["SUCCESS", 5, True, []],
                "failure": ["FAILURE", "KeyError", "'größe'", True],
                "group": [[f"{who}-value"], [5]],
                "nothing": "PENDING",
            }
        ]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_django_results_pass_the_public_suite(kind: str, tmp_path: Path) -> None:
    schema = f"celeriac_results_{os.getpid()}"
    with postgres_schema(schema) if kind == "postgres" else nullcontext(True) as there:
        if not there:
            pytest.skip("no PostgreSQL on port 5432")
        databases = {
            "sqlite": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(tmp_path / "results.sqlite"),
                "OPTIONS": {"timeout": 30, "transaction_mode": "IMMEDIATE"},
            },
            "postgres": {
                "ENGINE": "django.db.backends.postgresql",
                **POSTGRES,
                "OPTIONS": {"options": f"-c search_path={schema}"},
            },
        }
        suite = Path(__file__).with_name("django_results_suite.py")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "celeriac.compat", "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider"),
                # Threads of the suite end without closing Django's connections, as those of no request do.
                *("-W", "ignore::pytest.PytestUnraisableExceptionWarning", str(suite)),
            ],
            env={**os.environ, "RESULTS_DATABASE": json.dumps(databases[kind])},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "50 passed" in done.stdout


@pytest.mark.timeout(900)  # the environment may have to be made first
def test_celery_once_and_celery_singleton(redis_url: str, tmp_path: Path) -> None:
    environment.ensure()
    for name in ("celery_once", "celery_singleton"):
        (tmp_path / name).symlink_to(environment.package(name))
    variables = {"BROKER_URL": redis_url, "PYTHONPATH": str(tmp_path), "DOORS": str(tmp_path)}
    with worker("once_program", PROGRAMS, variables, tmp_path):
        said = run("once_program.py", PROGRAMS, variables)
    assert said == "already queued True\n1\n1\nTrue True 1 2\n"


def test_schedulers_made_for_celery_are_imported_but_not_run() -> None:
    """`celery.beat` is ours, so that they are subclasses of our scheduler, whose parts they know nothing of."""
    code = """
import celeriac.compat; celeriac.compat.install()
import django
from django.conf import settings
settings.configure(INSTALLED_APPS=["django_celery_beat"])
django.setup()
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry
from celery import Celery
from celery.beat import ScheduleEntry, Scheduler
from celeriac.beat import make_scheduler
assert issubclass(ModelEntry, ScheduleEntry) and issubclass(DatabaseScheduler, Scheduler)
class Own(DatabaseScheduler):
    pass
make_scheduler(Celery("x", broker="memory://"), Own)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ImproperlyConfigured: beat_scheduler = <class '__main__.Own'> is no celeriac.beat.Scheduler" in done.stderr


def test_django_cache_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"'django-cache' .*django-db"):
        open_backend("django-cache", make_settings({}))

"""Schedulers beside workers, in real time: they send what runs, outlast outages, and keep nothing waiting."""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.beat import EmbeddedService, Schedule, Service
from celeriac.exceptions import ImproperlyConfigured
from celeriac.schedules import BaseSchedule
from celeriac.signals import beat_embedded_init, beat_init
from celeriac.worker.worker import EmbeddedWorker
from tests.services import PrivateRedis, wait_until

SOON_S = 20.0


def counting_app(broker: str, **settings: Any) -> tuple[Celeriac, list[int]]:
    """An app whose schedule counts, each run once."""
    ran: list[int] = []
    schedule = {"often": {"task": "count", "schedule": 0.1, "expires": None}}
    app = Celeriac("service", broker=broker, set_as_current=False, beat_schedule=schedule, **settings)
    app.task(name="count", executor="thread")(lambda: ran.append(1))
    return app, ran


def test_a_worker_with_beat_runs_what_is_due() -> None:
    app, ran = counting_app("memory://")
    begun: list[Service] = []

    def note(sender: Service, **_: Any) -> None:
        begun.append(sender)

    beat_embedded_init.connect(note)
    with EmbeddedWorker(app, concurrency=0, threads=1, beat=True):
        wait_until(lambda: len(ran) >= 3, "three runs", deadline_s=SOON_S)
    assert [type(one) for one in begun] == [Service]
    assert not [thread for thread in threading.enumerate() if thread.name == "celeriac-beat"]


def test_an_entry_that_cannot_be_keeps_a_worker_from_starting() -> None:
    app, _ = counting_app("memory://")
    app.conf.beat_schedule = {"a": {"task": "count", "schedule": "never"}}
    with pytest.raises(ImproperlyConfigured, match="schedule entry 'a'"):
        EmbeddedWorker(app, concurrency=0, threads=1, beat=True)


def test_a_schedule_that_hangs_keeps_no_worker_waiting() -> None:
    gate = threading.Event()
    asked = threading.Event()

    class Hangs(BaseSchedule):
        def next_after(self, instant: datetime) -> datetime:
            asked.set()
            gate.wait(SOON_S * 3)
            return instant + timedelta(hours=1)

    app, ran = counting_app("memory://")
    app.conf.beat_schedule = {"hangs": {"task": "count", "schedule": Hangs()}}
    with EmbeddedWorker(app, concurrency=0, threads=1, beat=True):
        assert asked.wait(SOON_S)
        app.send_task("count")
        wait_until(lambda: ran, "the worker works on", deadline_s=SOON_S)
        gate.set()


@pytest.mark.redis
def test_it_outlasts_an_outage_and_says_so_once(own_redis: PrivateRedis, caplog: pytest.LogCaptureFixture) -> None:
    app, _ = counting_app(own_redis.url, publish_timeout_s=1.0, beat_retry_max_s=0.2)
    service = EmbeddedService(app)
    with caplog.at_level(logging.INFO, "celeriac.beat"), app:

        def told(text: str) -> int:
            return sum(text in record.getMessage() for record in caplog.records)

        service.start()
        wait_until(lambda: told("Sending due task") >= 2, "it sends", deadline_s=SOON_S)
        own_redis.kill()
        wait_until(lambda: told("the scheduler waits"), "it notices", deadline_s=SOON_S)
        own_redis.start()
        wait_until(lambda: told("the scheduler goes on"), "it goes on", deadline_s=SOON_S)
        before = told("Sending due task")
        wait_until(lambda: told("Sending due task") > before, "it sends again", deadline_s=SOON_S)
        service.stop()
        assert told("the scheduler waits") == told("the scheduler goes on")


@pytest.mark.rabbitmq
def test_on_rabbitmq_alone_a_file_remembers(
    rabbit_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app, ran = counting_app(rabbit_url, worker_shutdown_grace_s=5)
    with app, EmbeddedWorker(app, concurrency=0, threads=1, beat=True):
        other = EmbeddedService(app)
        other.start()
        wait_until(lambda: len(ran) >= 5, "five runs", deadline_s=SOON_S)
        other.stop()
        with Schedule(app) as schedule:
            (line,) = schedule.lines()
            assert line.state is not None
            assert line.state.runs >= 5
    assert (tmp_path / "celerybeat-schedule.sqlite").exists()
    assert "set coordination_url or beat_store_url" in caplog.text


def test_a_service_tells_of_tasks_that_nobody_knows_here(caplog: pytest.LogCaptureFixture) -> None:
    app, _ = counting_app("memory://")
    app.conf.beat_schedule = {"a": {"task": "elsewhere", "schedule": 3600}}
    service = Service(app)
    begun: list[Service] = []

    def note(sender: Service, **_: Any) -> None:
        begun.append(sender)
        sender.stop()

    beat_init.connect(note)
    service.start()
    beat_init.disconnect(note)
    assert begun == [service]
    assert "this app knows no task 'elsewhere'" in caplog.text

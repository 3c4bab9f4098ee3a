"""A Django project with real workers on real brokers: atomic tasks, the outbox, connections."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

import pytest

from celeriac import Celeriac
from tests.contrib.django_site import SETTINGS_MODULE, Journal, Site, manage

RELAYED = 60
"""Messages that go through the outbox while its relays are killed."""


class Rollback(Exception):
    pass


def client(site: Site, monkeypatch: pytest.MonkeyPatch) -> Celeriac:
    """The project's app in this process: where a view would run."""
    monkeypatch.setenv("CELERIAC_BROKER_URL", site.broker_url)
    monkeypatch.setenv("CELERIAC_RESULT_BACKEND", "" if site.broker_url.startswith("amqp") else site.broker_url)
    with monkeypatch.context() as patch:
        patch.setenv("DJANGO_SETTINGS_MODULE", SETTINGS_MODULE)
        app = Celeriac("client", set_as_current=False)

    @app.task(name="django_orders.tasks.note")
    def note(text: str) -> None: ...

    return app


def note(app: Celeriac) -> Any:
    return app.tasks["django_orders.tasks.note"]


# -- one transaction a task -------------------------------------------------------------------------------------------


def test_an_atomic_task_commits_or_leaves_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with client(site, monkeypatch) as app:
        site.worker("-c", "2")
        for how in ("well", "fail", "retry", "reject", "ignore", "replace"):
            app.send_task("django_orders.tasks.book", (how, how))
        app.send_task("django_orders.tasks.book", ("slow", "slow"), soft_time_limit=0.5)
        app.send_task("django_orders.tasks.book_elsewhere", ("elsewhere well", "well"))
        app.send_task("django_orders.tasks.book_elsewhere", ("elsewhere fail", "fail"))
        # What committed is its own entry, its hook, what it sent on commit, and what it wrote into the outbox.
        kept = {
            f"{run}{what}"
            for run in ("well 0", "retry 1", "replace 0")
            for what in ("", " hook", " on commit", " via outbox")
        } | {"replacement"}
        journal = Journal("default")
        journal.until(lambda texts: kept <= texts.keys(), "what was committed is there")
        Journal("second").until(lambda texts: "elsewhere well" in texts, "also in the second database")
        # Each end that leaves no trace is over too: the slow one was met by its limit, and the queue is empty.
        until_empty(app)
        assert journal.texts().keys() == kept
        assert Journal("second").texts() == {"elsewhere well": 1}


def until_empty(app: Celeriac) -> None:
    """Wait until nothing is ready, delayed or claimed, as far as the broker can tell."""
    admin = app.broker.admin()
    end = time.monotonic() + 60
    try:
        while any(depth.ready or depth.delayed or depth.claimed for depth in admin.depths(["celery"])):
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        admin.close()


# -- the outbox -------------------------------------------------------------------------------------------------------


def test_no_committed_row_is_lost_and_no_other_is_sent_though_relays_are_killed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.db import transaction

    # Each kind of claim on one of the brokers: row locks of PostgreSQL, and SQLite's one relay at a time.
    alias = "postgres" if "postgres" in site.databases and site.broker_url.startswith("amqp") else "default"
    with client(site, monkeypatch) as app:
        committed: set[str] = set()
        rolled_back: set[str] = set()
        settings = {"outbox_batch_max": 3, "outbox_poll_s": 0.01}
        workers = [site.worker("-c", "1", settings=settings), site.worker("-c", "1", settings=settings, ready=False)]
        journal = Journal("default")
        for number in range(RELAYED):
            ids = committed
            with contextlib.suppress(Rollback), transaction.atomic(using=alias):
                result = note(app).apply_async_via_outbox((f"{number}",), using=alias)
                if number % 4 == 3:
                    ids = rolled_back
                    raise Rollback
            ids.add(result.id)
            if number == RELAYED // 2:
                journal.until(lambda texts: len(texts) > 0, "the first relay is at work")
                workers[0].kill()
        workers[1].wait_ready()
        workers[1].kill()
        survivor = site.worker("-c", "2", settings=settings)
        journal.until(lambda _texts: committed <= journal.ids().keys(), "every committed call has run")
        assert not rolled_back & journal.ids().keys()
        assert app.outbox is not None
        until_relayed(app)
        assert survivor.terminate() == 0


def until_relayed(app: Celeriac) -> None:
    end = time.monotonic() + 60
    while app.outbox is not None and app.outbox.state().waiting:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_relay_of_its_own_takes_the_place_of_the_workers(redis_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with client(redis_site, monkeypatch) as app:
        redis_site.worker("-c", "1", settings={"outbox_relay": False})
        result = note(app).delay_via_outbox("by hand")
        app.send_task("django_orders.tasks.note", ("directly",)).get(timeout=60)
        assert app.outbox is not None
        assert app.outbox.state().waiting == 1
        relayed = manage(redis_site.environment(), "celeriac", "outbox", "relay", "--once")
        assert relayed.stdout == "1 message relayed\n", relayed.stderr
        result.get(timeout=60)


# -- connections ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["process", "thread"])
def test_no_connection_is_shared_over_a_fork(redis_site: Site, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "postgres" not in redis_site.databases:
        pytest.skip("no PostgreSQL server answers")
    keep = {**redis_site.databases, "postgres": {**redis_site.databases["postgres"], "CONN_MAX_AGE": None}}
    redis_site.databases = keep
    with client(redis_site, monkeypatch) as app:
        # The project opens a connection while it is imported, in the process that all executors are forked from.
        options = ["-c", "2"] if kind == "process" else ["-P", "threads", "-c", "2"]
        worker = redis_site.worker(*options, SHOP_QUERY_AT_START="postgres")
        found = [app.send_task("django_orders.tasks.describe", ("postgres",)).get(timeout=60) for _ in range(8)]
        by_place: dict[int, set[int]] = {}
        for one in found:
            by_place.setdefault(one["backend"], set()).add(one["pid"])
        assert all(len(pids) == 1 for pids in by_place.values()), "a connection belongs to one process"
        # With CONN_MAX_AGE = None a connection stays open from task to task.
        assert any(one["open before"] for one in found)
        assert not found[0]["open before"]
        assert "Traceback" not in worker.log


def test_connections_are_closed_after_each_task_unless_they_may_stay(
    redis_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client(redis_site, monkeypatch) as app:
        redis_site.worker("-c", "1", "--async", "5", SHOP_DEBUG="1")
        for _ in range(3):
            found = app.send_task("django_orders.tasks.describe", ("default",)).get(timeout=60)
            assert found["open before"] is False
            # The query log of DEBUG is that of this task alone.
            assert found["queries"] == 1
        for number in range(3):
            was_open = app.send_task("django_orders.tasks.note_async", (f"async {number}",)).get(timeout=60)
            assert was_open is False
        assert Journal("default").texts() == {f"async {number}": 1 for number in range(3)}


def test_logs_are_written_although_the_project_configures_logging(redis_site: Site) -> None:
    worker = redis_site.worker("-c", "1")
    assert "w1@site ready." in worker.log
    assert worker.terminate() == 0
    assert "has stopped" in worker.log
    assert os.path.exists(redis_site.databases["default"]["NAME"])

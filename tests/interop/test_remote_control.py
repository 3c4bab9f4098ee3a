"""Celery's remote control asks our worker, and its event receiver listens to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from celeriac.core.addresses import control_address
from celeriac.torture.servers.redis_call import redis_call
from celeriac.torture.servers.service import wait_until
from celeriac.wire.control import ReplyTo, Request, encode_request
from tests.interop.harness import CeleryProducer, Place

QUEUE = "controlled"
NODE = "controlled@ours"

pytestmark = pytest.mark.parametrize("place", ["redis", "quorum"], indirect=True, scope="session")


@pytest.fixture(scope="module")
def celery(place: Place) -> Iterator[CeleryProducer]:
    """The operator's program; our worker has two processes."""
    producer = place.celery_producer(QUEUE)
    producer.listen()
    options = ("-c", "2", "-E", "--heartbeat-interval", "0.5", "--", "worker.pool_restarts=true")
    worker = place.our_worker(QUEUE, *options, name="controlled")
    yield producer
    assert worker.stop() == 0
    wait_until(lambda: producer.told_by(NODE)[-1]["type"] == "worker-offline", "it says that it leaves")


class Held:
    """Tasks that run until they are let go."""

    def __init__(
        self, request: pytest.FixtureRequest, place: Place, celery: CeleryProducer, directory: Path, count: int
    ) -> None:
        self._file = directory / "go"
        request.addfinalizer(self._file.touch)  # also when the test fails: others need the processes
        self.ids: list[str] = []
        for _ in range(count):
            key = place.key()
            self.ids.append(celery.send("hold", [key, str(self._file)]))
        self._celery = celery

    def until_active(self, count: int) -> list[dict[str, Any]]:
        def active() -> list[dict[str, Any]]:
            return [record for record in self._celery.ask("active", NODE) if record["id"] in self.ids]

        wait_until(lambda: len(active()) == count, "the tasks run")
        return active()

    def let_go(self) -> list[str]:
        self._file.touch()
        return [self._celery.wait_for(one)["state"] for one in self.ids]


# -- what it answers --------------------------------------------------------------------------------------------------


def test_it_answers_at_once_while_all_executors_are_busy(
    request: pytest.FixtureRequest, place: Place, celery: CeleryProducer, tmp_path: Path
) -> None:
    held = Held(request, place, celery, tmp_path, 3)
    records = held.until_active(2)
    assert {record["id"] for record in records} < set(held.ids)
    for record in records:
        assert record["name"] == record["type"] == "shop.hold"
        assert record["args"][1] == str(tmp_path / "go")
        assert record["kwargs"] == {}
        assert record["hostname"] == NODE
        assert abs(record["time_start"] - time.time()) < 60
        assert record["worker_pid"] in celery.ask("stats", NODE)["pool"]["processes"]
        assert record["delivery_info"]["routing_key"] == QUEUE
    safe = celery.ask("active", NODE, {"safe": True})[0]
    assert safe["args"].startswith("['key-")
    known = celery.ask("query_task", NODE, {"ids": [*held.ids, "unknown"]})
    assert sorted(state for state, _record in known.values())[:2] == ["active", "active"]
    assert "unknown" not in known
    assert celery.ask("ping", NODE) == {"ok": "pong"}
    assert held.let_go() == ["SUCCESS"] * 3


def test_what_it_says_of_itself(celery: CeleryProducer) -> None:
    stats = celery.ask("stats", NODE)
    assert stats["pool"]["max-concurrency"] == 2
    assert stats["broker"]["transport"] in ("redis", "amqp")
    assert isinstance(stats["clock"], str)
    assert set(stats) >= {"total", "pid", "uptime", "rusage", "prefetch_count"}
    (queue,) = celery.ask("active_queues", NODE)
    assert (queue["name"], queue["exchange"]["type"], queue["routing_key"]) == (QUEUE, "direct", QUEUE)
    assert isinstance(celery.ask("clock", NODE)["clock"], int)
    assert celery.ask("report", NODE)["ok"].startswith("\nsoftware -> ")
    assert celery.ask("memsample", NODE).endswith("MB")
    assert "rss" in celery.ask("memdump", NODE)
    assert celery.ask("objgraph", NODE, {"num": 3}).keys() <= {"types", "filename"}
    assert celery.ask("hello", NODE, {"from_node": "celery@other", "revoked": ["told-by-hello"]})["clock"]
    assert "told-by-hello" in celery.ask("revoked", NODE)
    assert celery.ask("hello", NODE, {"from_node": NODE}) is None
    registered = celery.ask("registered", NODE)
    assert "shop.add" in registered
    assert not any(name.startswith("celery.") for name in registered)


def test_what_waits_for_its_time(place: Place, celery: CeleryProducer) -> None:
    ids = [celery.send("add", [number, 1], countdown=3600 + number) for number in range(2)]
    if place.name == "redis":  # RabbitMQ lets nobody look
        wait_until(lambda: len(celery.ask("scheduled", NODE)) == len(ids), "they wait")
        first, second = celery.ask("dump_schedule", NODE)
        assert [first["request"]["id"], second["request"]["id"]] == ids
        assert (first["request"]["args"], first["priority"]) == ([0, 1], 6)
        assert first["eta"] < second["eta"]
    else:
        assert celery.ask("scheduled", NODE) == []
    celery.tell("revoke", {"task_id": ids})
    wait_until(lambda: set(ids) <= set(celery.ask("revoked", NODE)), "they are revoked")


def test_settings_are_told_without_secrets(place: Place, celery: CeleryProducer) -> None:
    conf = celery.ask("conf", NODE, {"with_defaults": True})
    assert conf["task_default_queue"] == QUEUE
    login = place.broker_url.partition("//")[2].rpartition("@")[0]
    assert not login or login not in str(conf)


def test_errors_read_as_with_celery(celery: CeleryProducer) -> None:
    assert celery.ask("no_such", NODE) == {"error": "KeyError('no_such')"}
    assert celery.ask("report", NODE, {"x": 1})["error"].startswith("TypeError(")
    assert celery.ask("ping", NODE, {"x": 1}) == {"ok": "pong"}  # as it is with Celery
    assert celery.ask("election", NODE, {"id": "1", "topic": "x"}) is None
    assert celery.ask("autoscale", NODE, {"max": 3}) == {"error": "ValueError('Autoscale not enabled')"}


def test_who_is_meant(celery: CeleryProducer) -> None:
    assert celery.answers_to("contr*@ours", "glob") == [NODE]
    assert celery.answers_to(r"contr\w+@(ours|theirs)", "pcre") == [NODE]
    assert celery.answers_to("other@*", "glob") == []


# -- what it changes --------------------------------------------------------------------------------------------------


def test_limits_are_changed(celery: CeleryProducer, tmp_path: Path, place: Place) -> None:
    rate = {"task_name": "shop.quiet", "rate_limit": "100/s"}
    assert celery.ask("rate_limit", NODE, rate) == {"ok": "new rate limit set successfully"}
    assert "shop.quiet [rate_limit=100/s]" in celery.ask("registered", NODE)
    assert celery.ask("rate_limit", NODE, rate | {"rate_limit": 0}) == {"ok": "rate limit disabled successfully"}
    assert celery.ask("rate_limit", NODE, rate | {"task_name": "x"}) == {"error": "unknown task"}
    assert celery.ask("rate_limit", NODE, rate | {"rate_limit": "x"})["error"].startswith("Invalid rate limit string")
    limits = {"task_name": "shop.hold", "soft": 0.2, "hard": 30}
    assert celery.ask("time_limit", NODE, limits) == {"ok": "time limits set successfully"}
    ended = celery.run("hold", [place.key(), str(tmp_path / "never")])
    assert "SoftTimeLimitExceeded" in ended["error"]
    assert celery.ask("time_limit", NODE, {"task_name": "shop.hold", "soft": None, "hard": 0.3})["ok"]
    assert "TimeLimitExceeded" in celery.run("hold", [place.key(), str(tmp_path / "never")])["error"]
    assert celery.ask("time_limit", NODE, {"task_name": "shop.hold"})["ok"]


def test_queues_are_changed(place: Place, celery: CeleryProducer) -> None:
    key, other = place.key(), f"{QUEUE}-more"
    assert celery.ask("add_consumer", NODE, {"queue": other}) == {"ok": f"add consumer {other}"}
    celery.send("note", [], kwargs={"key": key}, queue=other)
    place.until_noted(key)
    assert celery.ask("cancel_consumer", NODE, {"queue": other}) == {"ok": f"no longer consuming from {other}"}
    assert [queue["name"] for queue in celery.ask("active_queues", NODE)] == [QUEUE]
    assert celery.ask("cancel_consumer", NODE, {"queue": QUEUE})["ok"]
    assert celery.ask("active_queues", NODE) == []
    assert celery.ask("add_consumer", NODE, {"queue": QUEUE})["ok"]
    assert celery.run("add", [1, 2])["value"] == 3


def test_the_pool_is_changed(celery: CeleryProducer) -> None:
    def processes() -> int:
        return len(celery.ask("stats", NODE)["pool"]["processes"])

    assert celery.ask("pool_grow", NODE, {"n": 1}) == {"ok": "pool will grow"}
    wait_until(lambda: processes() == 3, "there is one more")
    assert celery.ask("pool_shrink", NODE, {"n": 1}) == {"ok": "pool will shrink"}
    wait_until(lambda: processes() == 2, "there is one less")
    before = celery.ask("stats", NODE)["pool"]["processes"]
    assert celery.ask("pool_restart", NODE) == {"ok": "reload started"}
    wait_until(lambda: not set(before) & set(celery.ask("stats", NODE)["pool"]["processes"]), "they are others")
    assert celery.run("add", [1, 2])["value"] == 3


def test_a_running_task_is_terminated(
    request: pytest.FixtureRequest, place: Place, celery: CeleryProducer, tmp_path: Path
) -> None:
    held = Held(request, place, celery, tmp_path, 1)
    held.until_active(1)
    (task_id,) = held.ids
    asked = {"task_id": task_id, "terminate": True, "signal": "SIGKILL"}
    assert celery.ask("revoke", NODE, asked) == {"ok": f"terminate: {task_id}"}
    ended = celery.wait_for(task_id)
    assert (ended["state"], ended["error"]) == ("REVOKED", "celery.exceptions.TaskRevokedError('terminated')")
    assert celery.ask("terminate", NODE, {"task_id": "x", "signal": "TERM"}) == {"ok": "terminate: tasks unknown"}
    wait_until(lambda: celery.seen(task_id)["state"] == "REVOKED", "it is told")
    (last,) = [event for event in celery.told_of(task_id) if event["type"] == "task-revoked"]
    assert (last["terminated"], last["expired"]) == (True, False)


def test_what_celery_has_revoked_is_known_to_workers_that_start_later(place: Place, celery: CeleryProducer) -> None:
    queue, key = f"{QUEUE}-later", place.key()
    task_id = celery.send("note", [], kwargs={"key": key}, queue=queue)
    celery.tell("revoke", {"task_id": [task_id]})
    wait_until(lambda: task_id in celery.ask("revoked", NODE), "it is heard")
    # Without asking the other workers: it is the broker that knows.
    later = place.our_worker(f"{QUEUE}-other", "-c", "1", "--without-mingle", name="later")
    wait_until(lambda: task_id in celery.ask("revoked", "later@ours"), "it is kept in the broker")
    assert celery.ask("add_consumer", "later@ours", {"queue": queue})["ok"]
    assert celery.wait_for(task_id)["state"] == "REVOKED"
    assert later.stop() == 0
    assert place.journal.ends(key) == 0


def test_a_worker_that_starts_asks_the_others(place: Place, celery: CeleryProducer) -> None:
    celery.ask("hello", NODE, {"from_node": "celery@another", "revoked": ["known-to-one"]})
    newcomer = place.our_worker(f"{QUEUE}-newcomer", "-c", "1", name="newcomer")
    wait_until(lambda: "known-to-one" in celery.ask("revoked", "newcomer@ours"), "it has asked")
    assert newcomer.stop() == 0


def test_a_worker_is_shut_down(place: Place, celery: CeleryProducer) -> None:
    worker = place.our_worker(f"{QUEUE}-short", "-c", "1", name="short")
    celery.tell("shutdown", destination=["short@ours"])
    assert worker.process.wait(60) == 0


# -- what it tells ----------------------------------------------------------------------------------------------------


def test_events_tell_the_story_of_a_task(celery: CeleryProducer) -> None:
    task_id = celery.send("add", [1, 2])
    wait_until(lambda: celery.seen(task_id).get("state") == "SUCCESS", "its end is told")
    assert [event["type"] for event in celery.told_of(task_id)] == ["task-received", "task-started", "task-succeeded"]
    seen = celery.seen(task_id)
    assert (seen["name"], seen["args"], seen["kwargs"], seen["result"]) == ("shop.add", "[1, 2]", "{}", "3")
    assert seen["runtime"] >= 0
    clocks = [event["clock"] for event in celery.told_of(task_id)]
    assert clocks == sorted(set(clocks))


@pytest.mark.parametrize(
    ("task", "args", "options", "types"),
    [
        ("fail", ["own"], {}, ["received", "started", "failed"]),
        ("flaky", [1], {}, ["received", "started", "retried", "received", "started", "succeeded"]),
        ("add", [1, 2], {"countdown": 0.4, "expires": 0.2}, ["received", "revoked"]),
    ],
)
def test_each_end_is_told_once(
    celery: CeleryProducer, task: str, args: list[Any], options: dict[str, Any], types: list[str]
) -> None:
    task_id = celery.run(task, args, **options)["id"]
    last = f"task-{types[-1]}"
    wait_until(lambda: any(event["type"] == last for event in celery.told_of(task_id)), "its end is told")
    assert [event["type"] for event in celery.told_of(task_id)] == [f"task-{one}" for one in types]


def test_an_unknown_task_is_told_of(celery: CeleryProducer) -> None:
    task_id = celery.run_by_name("shop.no_such_task", [])["id"]
    wait_until(lambda: celery.seen(task_id).get("state") == "FAILURE", "its end is told")
    assert [event["type"] for event in celery.told_of(task_id)] == ["task-received", "task-failed"]


def test_a_worker_tells_that_it_lives(celery: CeleryProducer) -> None:
    wait_until(lambda: any(one["type"] == "worker-heartbeat" for one in celery.told_by(NODE)), "it has said so")
    told = celery.told_by(NODE)
    assert told[0]["type"] == "worker-online"
    assert {"freq", "active", "processed", "loadavg", "sw_ident", "sw_ver", "sw_sys"} <= told[-1].keys()
    count = len(told)
    celery.tell("heartbeat")
    wait_until(lambda: any(one["freq"] == 5 for one in celery.told_by(NODE)[count:]), "it says so when asked")


def test_events_are_switched_off_and_on(celery: CeleryProducer) -> None:
    assert celery.ask("enable_events", NODE) == {"ok": "task events already enabled"}
    assert celery.ask("disable_events", NODE) == {"ok": "task events disabled"}
    assert celery.ask("disable_events", NODE) == {"ok": "task events already disabled"}
    quiet = celery.run("add", [1, 2])["id"]
    assert celery.ask("enable_events", NODE) == {"ok": "task events enabled"}
    told = celery.run("add", [1, 2])["id"]
    wait_until(lambda: celery.seen(told).get("state") == "SUCCESS", "its end is told")
    assert celery.told_of(quiet) == []


def test_replies_that_nobody_fetches_go_by_themselves(place: Place, celery: CeleryProducer) -> None:
    """As those to a client that was killed while it waited."""
    if place.name != "redis":
        pytest.skip("RabbitMQ ends the queue with the connection")
    app, oid = place.our_app(QUEUE), "gone"
    call = partial(redis_call, place.server.port)
    member = f"{oid}\x06\x16\x06\x16{oid}.reply.celery.pidbox"
    call("SADD", "_kombu.binding.reply.celery.pidbox", member)
    to = control_address(app.settings)
    asked = Request("ping", destination=[NODE], ticket="t", reply_to=ReplyTo("reply.celery.pidbox", oid))

    async def ask() -> None:
        messenger = app.broker.messenger()
        await messenger.open(())
        await messenger.send(to, [encode_request(asked, to, 10_000)])
        await messenger.close()

    asyncio.run(ask())
    wait_until(lambda: call("LLEN", f"{oid}.reply.celery.pidbox") == 1, "it has replied")
    assert 0 < call("TTL", f"{oid}.reply.celery.pidbox") <= 600
    letters = [key for key in call("KEYS", "*pidbox*") if call("TYPE", key) == "list"]
    assert all(call("TTL", key) > 0 for key in letters)

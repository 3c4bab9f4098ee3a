"""`app.control` asks workers: what is sent, who is waited for, and what is left behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
import redis

from celeriac import Celeriac
from celeriac.client.letters import letters_of
from celeriac.client.requests import CLOCKS_APART_S
from celeriac.client.signing import holds_request
from celeriac.core.addresses import reply_address
from celeriac.exceptions import ArgumentError, BrokerUnavailable, DuplicateNodenameWarning, EncodeError
from celeriac.wire.control import Reply, ReplyTo, encode_reply
from tests.client.answering import SILENCE, fleet
from tests.services import PrivateRedis, wait_until

LONG_S = 60.0


@pytest.fixture
def app() -> Iterator[Celeriac]:
    with Celeriac("control", broker="memory://", set_as_current=False) as app:
        yield app


def test_everyone_who_answers_in_time_is_heard(app: Celeriac) -> None:
    heard: list[Any] = []
    with fleet(app, "a@x", "b@x") as workers:
        replies = app.control.broadcast(
            "ping", {"x": 1}, reply=True, timeout=LONG_S, limit=2, callback=heard.append, y=2
        )
    assert replies == heard == [{"a@x": {"ok": "pong"}}, {"b@x": {"ok": "pong"}}]
    (request,) = workers.requests
    assert (request.method, request.arguments, request.destination) == ("ping", {"x": 1, "y": 2}, None)
    assert time.time() + CLOCKS_APART_S < request.expires <= time.time() + LONG_S + CLOCKS_APART_S
    assert app.clock.value > request.clock + 5, "the clocks of those who answered are caught up with"


def test_who_are_named_are_waited_for_and_no_longer(app: Celeriac) -> None:
    with fleet(app, "a@x", "b@x", "c@x") as workers:
        assert app.control.ping(destination=["c@x", "a@x", "c@x"], timeout=LONG_S) == [
            {"a@x": {"ok": "pong"}},
            {"c@x": {"ok": "pong"}},
        ]
    assert workers.requests[0].destination == ["c@x", "a@x", "c@x"]


def test_nobody_answers(app: Celeriac) -> None:
    with fleet(app, "a@x", answer=lambda request: SILENCE):
        assert app.control.ping(timeout=0.01) == []
        assert app.control.inspect(timeout=0.01).active() is None
    assert app.control.broadcast("shutdown") is None, "whether anybody heard is not told"


def test_inspect_gives_what_each_node_says(app: Celeriac) -> None:
    with fleet(app, "a@x", "b@x", answer=lambda request: [request.method, request.arguments]) as workers:
        inspect = app.control.inspect(["a@x", "b@x"], timeout=LONG_S)
        assert inspect.active() == {"a@x": ["active", {"safe": None}], "b@x": ["active", {"safe": None}]}
        assert inspect.query_task("1", "2")["a@x"] == ["query_task", {"ids": ["1", "2"]}]
        assert inspect.query_task(["1"])["a@x"] == ["query_task", {"ids": ["1"]}]
        assert inspect.registered("rate_limit")["a@x"] == ["registered", {"taskinfoitems": ["rate_limit"]}]
        assert app.control.inspect("b@x", timeout=LONG_S).stats() == ["stats", {}], "one name: its reply alone"
        others = [
            "reserved",
            "scheduled",
            "active_queues",
            "revoked",
            "clock",
            "report",
            "memsample",
            "registered_tasks",
        ]
        for name in others:
            assert set(getattr(inspect, name)()) == {"a@x", "b@x"}
        assert inspect.hello("me@x", ["1"])["b@x"] == ["hello", {"from_node": "me@x", "revoked": ["1"]}]
        assert inspect.conf(with_defaults=True)["b@x"] == ["conf", {"with_defaults": True}]
        assert inspect.memdump(3)["b@x"] == ["memdump", {"samples": 3}]
        assert inspect.objgraph("Task")["b@x"] == ["objgraph", {"num": 200, "max_depth": 10, "type": "Task"}]
        assert inspect.ping("a@x") == ["ping", {}]
        matching = app.control.inspect(timeout=LONG_S, limit=2, pattern="b@*", matcher="glob")
        assert list(matching.ping()) == ["b@x"], "who does not match and answers all the same is left out"
    assert (workers.requests[-1].pattern, workers.requests[-1].matcher) == ("b@*", "glob")


def test_each_command_is_sent_in_celerys_form(app: Celeriac) -> None:
    sent: list[tuple[Any, str, dict[str, Any]]] = [
        (lambda c: c.pool_grow(2), "pool_grow", {"n": 2}),
        (lambda c: c.pool_shrink(), "pool_shrink", {"n": 1}),
        (lambda c: c.pool_restart(["m"], reload=True), "pool_restart", {"modules": ["m"], "reload": True, "reloader": None}),
        (lambda c: c.autoscale(5, 2), "autoscale", {"max": 5, "min": 2}),
        (lambda c: c.time_limit("t", 1, 2.5), "time_limit", {"task_name": "t", "soft": 1, "hard": 2.5}),
        (lambda c: c.rate_limit("t", "1/m"), "rate_limit", {"task_name": "t", "rate_limit": "1/m"}),
        (
            lambda c: c.add_consumer("q", options={"durable": False}),
            "add_consumer",
            {"queue": "q", "exchange": None, "exchange_type": "direct", "routing_key": None, "durable": False},
        ),
        (lambda c: c.cancel_consumer("q"), "cancel_consumer", {"queue": "q"}),
        (lambda c: c.enable_events(), "enable_events", {}),
        (lambda c: c.disable_events(), "disable_events", {}),
        (lambda c: c.heartbeat(), "heartbeat", {}),
        (lambda c: c.shutdown(), "shutdown", {}),
        (lambda c: c.election("1", "topic", 5), "election", {"id": "1", "topic": "topic", "action": 5}),
        (lambda c: c.revoke("1"), "revoke", {"task_id": "1", "terminate": False, "signal": "SIGTERM"}),
        (lambda c: c.terminate(["1", "2"], signal=9), "revoke", {"task_id": ["1", "2"], "terminate": True, "signal": "SIGKILL"}),
        (
            lambda c: c.revoke_by_stamped_headers({"tenant": {"a"}}),
            "revoke_by_stamped_headers",
            {"headers": {"tenant": ["a"]}, "terminate": False, "signal": "SIGTERM"},
        ),
    ]  # fmt: skip
    with fleet(app) as workers:
        for call, _, _ in sent:
            assert call(app.control) is None
        wait_until(lambda: len(workers.requests) == len(sent), "all are heard")
    assert [(one.method, one.arguments) for one in workers.requests] == [(name, given) for _, name, given in sent]
    assert all(one.ticket is None for one in workers.requests)


def test_two_workers_of_one_name_are_warned_of(app: Celeriac) -> None:
    with fleet(app, "a@x", "a@x"), pytest.warns(DuplicateNodenameWarning, match="a@x"):
        assert app.control.inspect(timeout=LONG_S, limit=2).ping() == {"a@x": {"ok": "pong"}}


def test_threads_get_the_replies_to_their_own_requests(app: Celeriac) -> None:
    with fleet(app, "a@x", answer=lambda request: request.arguments["number"]), ThreadPoolExecutor(8) as pool:

        def ask(number: int) -> Any:
            return app.control.broadcast("echo", {"number": number}, ["a@x"], reply=True, timeout=LONG_S)

        assert [*pool.map(ask, range(50))] == [[{"a@x": number}] for number in range(50)]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"destination": "a@x"}, "a list of node names"),
        ({"destination": [1]}, "a list of node names"),
        ({"pattern": 5}, "pattern"),
        ({"matcher": "regex"}, "'glob' or 'pcre'"),
    ],
)
def test_what_cannot_be_meant_is_refused(app: Celeriac, options: dict[str, Any], why: str) -> None:
    with pytest.raises(ArgumentError, match=why):
        app.control.broadcast("ping", **options)
    with pytest.raises(EncodeError):
        app.control.broadcast("ping", {"x": object()})


def test_requests_are_signed_where_the_app_signs() -> None:
    key = "k" * 16
    with (
        Celeriac("control", broker="memory://", security_sign_messages=True, security_hmac_key=key) as app,
        fleet(app) as workers,
    ):
        app.control.shutdown()
        wait_until(lambda: len(workers.letters) == 1, "it is heard")
        (letter,) = workers.letters
        seen: dict[str, float] = {}
        changed = type(letter)("", {**letter.headers}, letter.body + b" ", exchange=letter.exchange, routing_key="")
        assert not holds_request(app, changed, seen)
        assert holds_request(app, letter, seen)
        assert not holds_request(app, letter, seen), "a copy is none"
        letter.headers.pop("celeriac_signature")
        assert not holds_request(app, letter, {})


# -- over Redis -------------------------------------------------------------------------------------------------------


def keys_of(server: redis.Redis) -> set[bytes]:
    keys = cast("list[bytes]", server.keys("*"))
    return {key for key in keys if b"pidbox" in key or key == b"celeriac:mailboxes"}


def test_nothing_is_left_behind(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as server:
        with Celeriac("control", broker=redis_url, set_as_current=False) as app, fleet(app, "a@x"):
            assert app.control.ping(["a@x"], timeout=LONG_S) == [{"a@x": {"ok": "pong"}}]
            (list_key,) = [key for key in keys_of(server) if key.startswith(b"_kombu")]
            assert server.smembers(list_key)
        assert keys_of(server) == set()


def test_a_client_that_was_killed_leaves_nothing_for_long(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as server, Celeriac("control", broker=redis_url, set_as_current=False) as app:
        with fleet(app, "a@x", "b@x"):
            assert app.control.ping(limit=1, timeout=LONG_S)  # the other's reply stays unread, as with a killed client
        (entry,) = server.zrange("celeriac:mailboxes", 0, -1)
        table = b"_kombu.binding.reply.celery.pidbox"
        (member,) = server.smembers(table)
        unread = member.rpartition(b"\x06\x16")[2]
        server.lpush(unread, "a reply")
        server.zadd("celeriac:mailboxes", {entry: 1})  # so long ago its client was last heard of
        with Celeriac("other", broker=redis_url, set_as_current=False) as other:
            other.control.heartbeat()
            assert not server.exists(unread, table, "celeriac:mailboxes")


def test_replies_expire(redis_url: str) -> None:
    """Whoever sends a reply gives the list a time to live, for nobody may ever read it."""
    with redis.Redis.from_url(redis_url) as server, Celeriac("control", broker=redis_url, set_as_current=False) as app:
        server.sadd("_kombu.binding.reply.celery.pidbox", "oid\x06\x16\x06\x16oid.reply.celery.pidbox")

        async def reply() -> None:
            messenger = app.broker.messenger()
            await messenger.open(())
            await messenger.send(
                reply_address(app.settings),
                [encode_reply(Reply("n", 1), ReplyTo(reply_address(app.settings).exchange, "oid"), 1000)],
            )
            await messenger.close()

        asyncio.run(reply())
        assert server.llen("oid.reply.celery.pidbox") == 1
        assert 0 < server.pttl("oid.reply.celery.pidbox") <= 300_000


def test_a_broker_that_comes_back_is_used_again(own_redis: PrivateRedis) -> None:
    with Celeriac("control", broker=own_redis.database_url(0), set_as_current=False) as app:
        with fleet(app, "a@x"):
            assert app.control.ping(["a@x"], timeout=LONG_S)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(app.control.ping, ["nobody@x"], LONG_S)
            wait_until(lambda: letters_of(app).correspondence._asked, "it waits")
            own_redis.kill()
            assert isinstance(waiting.exception(30), BrokerUnavailable), "who waits is told"
        with pytest.raises(BrokerUnavailable):
            app.control.ping(timeout=0.01)
        own_redis.start()
        with fleet(app, "a@x"):
            assert app.control.ping(["a@x"], timeout=LONG_S) == [{"a@x": {"ok": "pong"}}]

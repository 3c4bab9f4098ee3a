"""Queues as they are declared, the match of routing keys, and where a call's options lead."""

from __future__ import annotations

import re
from typing import Any

import kombu
import kombu.common
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.core.priorities import from_wire, to_wire
from celeriac.core.queues import Broadcast, Exchange, Queue, QueueTable, binding, private_queue, public_queue
from celeriac.core.routing import Route, RouteMap, find_destination, is_match
from celeriac.core.settings import make_settings
from celeriac.exceptions import ImproperlyConfigured, QueueNotFound

MEDIA = Exchange("media", "topic")


def table(*queues: Any, **settings: Any) -> QueueTable:
    return QueueTable(make_settings({"task_queues": list(queues), **settings} if queues else settings))


# -- routing keys -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("a.#", "ab", False),
        ("#", "", True),
        ("#", "a.b", True),
        ("#.b", "b", True),
        ("#.b", "x.y.b", True),
        ("#.b", "xb", False),
        ("*.b", "a.b", True),
        ("*.b", "a.c.b", False),
        ("a.*.c", "a.b.c", True),
        ("a.#.c", "a.c", True),
        ("a.#.c", "a.x.y.c", True),
        ("a.#.c", "ac", False),
        ("#.*", "a.b", True),
        ("#.a.#", "x.a.y.z", True),
        ("a.b", "a.b", True),
        ("a+b.(c)", "a+b.(c)", True),
    ],
)
def test_topic_patterns_match_as_rabbitmq_says(pattern: str, key: str, expected: bool) -> None:
    assert is_match("topic", pattern, key) is expected


def matches_word_by_word(pattern: list[str], words: list[str]) -> bool:
    """The rule as it is written down, slowly."""
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(matches_word_by_word(pattern[1:], words[count:]) for count in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and matches_word_by_word(pattern[1:], words[1:])


@given(
    st.lists(st.sampled_from(["a", "b", "*", "#"]), min_size=1, max_size=5),
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=5),
)
def test_topic_patterns_against_the_rule(pattern: list[str], words: list[str]) -> None:
    assert is_match("topic", ".".join(pattern), ".".join(words)) is matches_word_by_word(pattern, words)


def test_direct_and_fanout() -> None:
    assert is_match("direct", "a.*", "a.*")
    assert not is_match("direct", "a.*", "a.b")
    assert is_match("fanout", "a", "b")


# -- declarations -----------------------------------------------------------------------------------------------------


def test_kombus_objects_are_taken_as_they_are() -> None:
    topic = kombu.Exchange("media", "topic", durable=False)
    known = table(
        kombu.Queue("video", topic, "video.#", max_priority=5, message_ttl=2.5, queue_arguments={"x-max-length": 3}),
        kombu.Queue("orders", [kombu.binding(kombu.Exchange("shop"), "order")]),
        kombu.common.Broadcast("all"),
        "plain",
    )
    video, orders, everyone, plain = known
    assert (video.exchange, video.routing_key) == (Exchange("media", "topic", durable=False), "video.#")
    assert video.arguments() == {"x-max-length": 3, "x-max-priority": 5, "x-message-ttl": 2500}
    assert [(exchange.name, key) for exchange, key in orders.ways] == [("shop", "order")]
    assert everyone.is_broadcast
    assert (everyone.name, everyone.exchange) == ("all", Exchange("all", "fanout"))
    assert (plain.exchange, plain.routing_key) == (Exchange("celery"), "plain")


def test_a_dict_of_queues() -> None:
    known = table(
        task_queues={
            "feeds": {"exchange": "news", "exchange_type": "topic", "binding_key": "feed.#"},
            "plain": {},
            "own": Queue("own", alias="mine"),
        }
    )
    feeds = known.find("feeds")
    assert (feeds.exchange, feeds.routing_key) == (Exchange("news", "topic"), "feed.#")
    assert known.find("mine").name == "own"
    assert known.listed == ("feeds", "plain", "own")


def test_without_task_queues_there_is_the_default_queue() -> None:
    known = table(task_default_queue="tasks", task_default_exchange="x", task_default_exchange_type="topic")
    (queue,) = known
    assert (queue.name, queue.exchange, queue.routing_key) == ("tasks", Exchange("x", "topic"), "tasks")


def test_a_missing_queue() -> None:
    known = table(
        task_create_missing_queue_type="classic",
        task_create_missing_queue_exchange_type="topic",
        task_queue_max_priority=4,
    )
    queue = known.find("new")
    assert (queue.exchange, queue.routing_key, queue.kind) == (Exchange("new", "topic"), "new", "classic")
    assert queue.arguments() == {"x-max-priority": 4}
    with pytest.raises(QueueNotFound, match=r"queue 'vidoe' .*task_create_missing_queues.*did you mean 'video'"):
        table("video", task_create_missing_queues=False).find("vidoe")


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Queue("q", max_prioritie=3), TypeError, "did you mean 'max_priority'"),
        (lambda: Queue("q", max_priority=300), ImproperlyConfigured, "at most 255"),
        (lambda: Queue("q", expires=-1), ImproperlyConfigured, "expires = -1 must be a number above 0"),
        (lambda: Queue(""), ImproperlyConfigured, "a queue needs a name"),
        (lambda: Exchange("x", "headers"), ImproperlyConfigured, "there is no type 'headers'"),
        (lambda: table(object()), ImproperlyConfigured, "is no queue: give a Queue"),
        (lambda: table(task_queues=3), ImproperlyConfigured, "task_queues = 3"),
    ],
)
def test_wrong_declarations_are_named(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def test_a_private_queue_knows_its_broadcast() -> None:
    assert public_queue(private_queue("all", "w@h/1")) == "all"
    assert public_queue("plain") == "plain"


# -- where a call goes ------------------------------------------------------------------------------------------------

QUEUES = (Queue("video", MEDIA, "video.#"), Queue("plain"), Queue("other", [binding(Exchange("shop"), "order")]))


@pytest.mark.parametrize(
    ("options", "base", "expected"),
    [
        ({}, {}, Route("celery")),
        ({}, {"queue": "plain"}, Route("plain")),
        ({"queue": "plain"}, {"queue": "video"}, Route("plain")),
        ({}, {"queue": "video"}, Route("", "media", "video.#")),
        ({"routing_key": "video.hd"}, {"queue": "video"}, Route("", "media", "video.hd")),
        ({}, {"queue": "video", "routing_key": "video.sd"}, Route("", "media", "video.sd")),
        ({"queue": "other"}, {"exchange": "media", "routing_key": "video.sd"}, Route("other")),
        ({"exchange": "media", "routing_key": "x"}, {"queue": "plain"}, Route("", "media", "x")),
        ({"exchange": "shop", "queue": "plain"}, {}, Route("plain")),
        ({"exchange": "shop", "queue": "plain", "routing_key": "order"}, {}, Route("", "shop", "order")),
        ({"exchange": "shop"}, {}, Route("", "shop", "celery")),
        ({"exchange": MEDIA, "routing_key": "a.b"}, {}, Route("", "media", "a.b")),
        ({"queue": Queue("made", MEDIA, "made")}, {}, Route("", "media", "made")),
        ({"queue": kombu.Queue("theirs")}, {}, Route("theirs")),
    ],
)
def test_destinations(options: dict[str, Any], base: dict[str, Any], expected: Route) -> None:
    assert find_destination(options, base, table(*QUEUES)) == expected


def test_the_type_of_an_exchange_in_a_call_is_kept() -> None:
    known = table(*QUEUES)
    find_destination({"exchange": "news", "exchange_type": "fanout"}, {}, known)
    assert known.type_of("news") == "fanout"


def test_the_same_object_in_each_call_is_declared_once() -> None:
    known, queue = table(*QUEUES), Queue("made", max_priority=3)
    find_destination({"queue": queue}, {}, known)
    declared = known.get("made")
    find_destination({"queue": queue}, {}, known)
    assert known.get("made") is declared


# -- route maps -------------------------------------------------------------------------------------------------------


def test_exact_names_come_before_patterns() -> None:
    routes = RouteMap(
        [("shop.*", "glob"), (re.compile(r"shop\.(pay|charge)$"), {"queue": "regex"}), ("shop.charge", "exact")],
        ("queue",),
    )
    assert routes.find("shop.charge") == {"queue": "exact"}
    assert routes.find("shop.pay") == {"queue": "glob"}
    assert routes.find("web.x") is None


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"a": 3}, "the entry for task 'a' is 3"),
        ({"a": {"que": "x"}}, "unknown option 'que'; did you mean 'queue'"),
        ([3], "3 is no pair"),
    ],
)
def test_wrong_entries_are_named(entries: Any, words: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=words):
        RouteMap(entries, ("queue", "exchange"))


# -- priorities -------------------------------------------------------------------------------------------------------


def test_numbers_in_calls_and_in_messages() -> None:
    assert [to_wire(number, "low", "highest-first") for number in (0, 3, 9, 200)] == [9, 6, 0, 0]
    assert [to_wire(number, "high", "highest-first") for number in (0, 3, 9, 200)] == [0, 3, 9, 200]
    assert [to_wire(number, "low", "celery") for number in (0, 3, 9)] == [0, 3, 9]
    for number in range(10):
        assert from_wire(to_wire(number, "low", "highest-first"), "low", "highest-first") == number


def test_broadcasts_take_kombus_arguments() -> None:
    queue = Broadcast("all", queue="ignored", unique=True, alias="everyone")
    assert (queue.name, queue.alias, queue.is_routed) == ("all", "everyone", True)

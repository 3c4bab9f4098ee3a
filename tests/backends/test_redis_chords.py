"""Chords in Redis beside Celery's: each takes the other's parts, whoever sends the header and whoever comes last."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import celery
import pytest
import redis
from celery.app.task import Context
from celery.backends.redis import RedisBackend as CeleryBackend
from celery.result import denied_join_result

from celeriac.backends.redis import RedisBackend
from celeriac.backends.redis_reader import RedisResultReader
from celeriac.brokers.redis import RedisBroker
from celeriac.core.effects import ACK, REQUEUE, Settlement
from celeriac.core.settings import make_settings
from celeriac.core.workflow import ChordOpening, ChordState, Collected, Completed, EndedMember, Part
from celeriac.exceptions import BackendUnavailable, ImproperlyConfigured
from celeriac.testing.broker_base import make_message
from celeriac.wire import chord_part
from tests.services import PrivateRedis

EXPIRES_S = 500.0
GROUP = "group"


class Place:
    """One Redis database, as Celery and we see it."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self.url = url
        self.options = {"result_backend": url, "result_backend_transport_options": options}
        self.backend = RedisBackend(url, make_settings(self.options))
        self.reader: RedisResultReader = self.backend.reader()
        self.client = redis.Redis.from_url(url)
        self.celery = celery.Celery("shop", broker=url, backend=url, set_as_current=False)
        self.celery.conf.update(result_backend_transport_options=options, result_expires=int(EXPIRES_S))
        prefix = options.get("global_keyprefix", "")
        self.prefix = prefix if prefix.endswith(":") or not prefix else f"{prefix}_"
        self.base = f"{self.prefix}celery-taskset-meta-{GROUP}"

    def close(self) -> None:
        self.reader.close()
        self.client.close()
        consumer = self.theirs.result_consumer
        consumer.subscribed_to.clear()  # else its results unsubscribe when they are collected, whether Redis is there or not
        consumer.stop()
        self.theirs.client.connection_pool.disconnect()
        self.celery.close()

    def body(self) -> Any:
        return self.celery.signature("tasks.total", app=self.celery).set(task_id="body")

    @property
    def theirs(self) -> CeleryBackend:
        backend = self.celery.backend
        assert isinstance(backend, CeleryBackend)
        return backend

    def end_on_celery(self, member_id: str, index: int | None, result: Any, state: str = "SUCCESS") -> None:
        """Do what Celery's worker does when a member of the header has ended."""
        request = Context(id=member_id, group=GROUP, group_index=index, chord=self.body())
        with denied_join_result():  # as in a worker: it does not wait for the body
            self.theirs.on_chord_part_return(request, state, result)

    def end_here(self, member_id: str, index: int | None, result: Any, state: str = "SUCCESS") -> bool:
        """Do what our worker does; tell whether the chord is to be finished."""
        finishes: list[bool] = []

        async def join() -> None:
            writer = self.backend.writer()
            try:
                finishes.extend(await writer.join([part(member_id, index, result, state)]))
            finally:
                await writer.close()

        asyncio.run(join())
        return finishes[0]

    def results(self) -> list[Any]:
        """Return what the body would be called with."""
        return [chord_part.decode(payload).result for payload in self.reader.collect(GROUP).parts]

    def sent_bodies(self) -> list[Any]:
        """Return the arguments with which Celery has sent the body."""
        found = []
        for envelope in self.client.lrange("celery", 0, -1):
            message = json.loads(envelope)
            assert message["headers"]["id"] == "body"
            args, _, _ = json.loads(base64.b64decode(message["body"]))
            found += args
        return found

    def kept(self) -> set[str]:
        """Return what follows the group's id in the keys that there are of it."""
        found = self.client.keys(f"{self.base}*")
        return {key.decode().removeprefix(self.base) for key in found if isinstance(key, bytes)}


def part(member_id: str, index: int | None, result: Any, state: str = "SUCCESS") -> Part:
    payload = chord_part.encode(EndedMember(member_id, state, result))
    return Part(GROUP, member_id, index, payload, EXPIRES_S)


@pytest.fixture(
    params=[{}, {"global_keyprefix": "shop"}, {"global_keyprefix": "shop:", "result_chord_ordered": False}],
    ids=["plain", "prefix", "prefix with colon, as they come"],
)
def place(redis_url: str, request: pytest.FixtureRequest) -> Iterator[Place]:
    made = Place(redis_url, request.param)
    yield made
    made.close()


@pytest.fixture
def plain(redis_url: str) -> Iterator[Place]:
    made = Place(redis_url, {})
    yield made
    made.close()


def open_chord(place: Place, sender: str, size: int) -> None:
    if sender == "celery":
        place.theirs.set_chord_size(GROUP, size)
    else:
        place.reader.open_chords([ChordOpening(GROUP, size, EXPIRES_S, b"the body")])


@pytest.mark.parametrize("sender", ["celery", "celeriac"])
def test_celery_finishes_what_we_began(place: Place, sender: str) -> None:
    open_chord(place, sender, 3)
    assert not place.end_here("a", 0, "first")
    place.end_on_celery("b", 1, "second")
    assert not place.end_here("b", 1, "second again")
    assert place.sent_bodies() == []
    place.end_on_celery("c", 2, "third")
    assert place.sent_bodies() == [["first", "second", "third"]]
    assert not place.end_here("c", 2, "third again"), "Celery's mark counts"
    place.reader.open_chords([ChordOpening(GROUP, 3, EXPIRES_S)])
    assert not place.end_here("a", 0, "a repeated header")
    assert place.reader.chords([GROUP]) == place.reader.chords() == []
    assert place.kept() == {".c"}


@pytest.mark.parametrize("sender", ["celery", "celeriac"])
def test_we_finish_what_celery_began(place: Place, sender: str) -> None:
    open_chord(place, sender, 3)
    place.end_on_celery("a", 0, "first")
    place.end_on_celery("b", 1, KeyError("second"), "FAILURE")
    assert place.end_here("c", 2, ["third"])
    place.end_on_celery("c", 2, ["third again"])
    place.end_on_celery("a", 0, "first again")
    assert place.sent_bodies() == [], "the claim is ours"
    assert place.end_here("c", 2, ["third again"])
    first, second, third = place.results()
    assert (first, third) == ("first", ["third"])
    assert repr(second) == "KeyError('second')"
    place.reader.close_chords([GROUP])
    place.end_on_celery("a", 0, "first again")
    assert not place.end_here("c", 2, ["third again"])
    assert place.kept() == {".c"}
    assert place.sent_bodies() == []


def test_members_without_an_index_come_last(plain: Place) -> None:
    open_chord(plain, "celeriac", 4)
    assert not plain.end_here("x", None, "x")
    plain.end_on_celery("y", None, "y")
    plain.end_on_celery("b", 11, "b")
    assert plain.end_here("a", 2, "a")
    assert plain.results() == ["a", "b", "x", "y"]
    assert plain.client.zrange(f"{plain.base}.j", 0, -1, withscores=True)[2][1] == float("inf")
    assert plain.client.smembers(f"{plain.base}.d") == {b"x:+inf", b"y:+inf", b"b:11", b"a:2"}


def test_celery_counts_members_that_we_added_and_we_those_of_celery(place: Place) -> None:
    open_chord(place, "celeriac", 1)
    for _ in range(2):
        place.reader.extend_chord(GROUP, "ours", EXPIRES_S)
    place.theirs.add_to_chord(GROUP, None)
    assert place.client.get(f"{place.base}.t") == b"2"
    assert place.reader.chords([GROUP])[0].size == 3
    place.end_on_celery("a", 0, 0)
    assert not place.end_here("theirs", 1, 1)
    place.end_on_celery("ours", 2, 2)
    assert place.sent_bodies() == [[0, 1, 2]]


def test_a_chord_that_failed_on_celery_is_no_longer_open(plain: Place) -> None:
    open_chord(plain, "celery", 2)
    assert not plain.end_here("a", 0, 0)
    assert [state.group_id for state in plain.reader.chords()] == [GROUP]
    plain.end_on_celery("b", 1, KeyError("b"), "FAILURE")
    assert plain.kept() >= {".j", ".d", ".c"}, "Celery takes the size away and leaves the rest"
    assert plain.reader.chords() == []
    assert plain.client.zcard("celeriac-chords") == 0


def test_what_celery_finishes_does_not_stay_on_the_list(plain: Place) -> None:
    open_chord(plain, "celeriac", 1)
    plain.end_on_celery("a", 0, 0)
    assert plain.client.zcard("celeriac-chords") == 1
    plain.reader.open_chords([ChordOpening("another", 1, EXPIRES_S)])
    assert plain.client.zrange("celeriac-chords", 0, -1) == [b"another"], "each opening looks at the oldest, too"


def test_progress_on_celery_is_noticed(plain: Place) -> None:
    open_chord(plain, "celeriac", 3)
    plain.reader.open_chords([ChordOpening("another", 3, EXPIRES_S)])
    (before, _) = plain.reader.chords()
    assert (before.group_id, before.ended) == (GROUP, 0)
    plain.end_on_celery("a", 0, 0)
    (state,) = plain.reader.chords([GROUP])
    assert state == ChordState(GROUP, 3, 1, state.updated_at, False, b"the body")
    assert state.updated_at > before.updated_at
    assert plain.reader.chords([GROUP]) == [state], "and only once"
    assert [state.group_id for state in plain.reader.chords()] == ["another", GROUP]


def test_a_chord_of_celery_alone_can_be_looked_at(plain: Place) -> None:
    open_chord(plain, "celery", 2)
    plain.end_on_celery("a", 0, 0)
    assert plain.reader.chords() == [], "nobody has told us"
    (state,) = plain.reader.chords([GROUP])
    assert state == ChordState(GROUP, 2, 1, state.updated_at)
    assert plain.reader.chords() == [state]
    assert 0 < plain.client.ttl(f"{plain.base}.b") <= EXPIRES_S
    plain.end_on_celery("b", 1, 1)
    assert plain.sent_bodies() == [[0, 1]]
    assert plain.reader.chords() == []


def test_everything_expires_and_each_part_renews_it(plain: Place) -> None:
    plain.reader.open_chords([ChordOpening(GROUP, 3, 50.0, b"the body")])
    plain.reader.extend_chord(GROUP, "d", 50.0)
    plain.client.set(plain.base, "a document", ex=50)
    assert {key: plain.client.ttl(plain.base + key) > 40 for key in plain.kept()} == dict.fromkeys(
        ["", ".s", ".t", ".d", ".b"], True
    )
    plain.end_here("a", 0, 0)
    longer = {key: plain.client.ttl(plain.base + key) > 450 for key in plain.kept()}
    assert longer == dict.fromkeys(["", ".s", ".t", ".d", ".b", ".j"], True)
    for member_id in "bcd":
        plain.end_here(member_id, None, 0)
    assert plain.client.get(f"{plain.base}.c") == b"celeriac:d:+inf"
    assert 450 < plain.client.ttl(f"{plain.base}.c") <= EXPIRES_S
    plain.client.expire(plain.base, 5000)
    plain.end_here("d", None, 0)
    assert plain.client.ttl(plain.base) > 4000, "what a user has saved for longer"
    plain.reader.close_chords([GROUP])
    assert plain.client.get(f"{plain.base}.c") == b"done"
    assert 450 < plain.client.ttl(f"{plain.base}.c") <= EXPIRES_S
    assert plain.kept() == {"", ".c"}
    assert plain.client.ttl("celeriac-chords") == -2


@pytest.mark.parametrize(("expires_s", "at_least", "at_most"), [(3.0, 290, 300), (None, 86_000, 86_400)])
def test_how_long_a_closed_chord_is_known(plain: Place, expires_s: float | None, at_least: int, at_most: int) -> None:
    plain.reader.open_chords([ChordOpening(GROUP, 3, expires_s)])
    plain.reader.close_chords([GROUP])
    assert at_least < plain.client.ttl(f"{plain.base}.c") <= at_most


def test_the_list_goes_when_nobody_uses_chords_any_more(plain: Place) -> None:
    open_chord(plain, "celeriac", 3)
    assert 0 < plain.client.ttl("celeriac-chords") <= 30 * 86_400
    plain.reader.open_chords([ChordOpening("longer", 3, 100 * 86_400.0)])
    assert plain.client.ttl("celeriac-chords") > 99 * 86_400
    for key in plain.client.keys("celery-taskset-meta-*"):
        plain.client.delete(key)
    assert plain.reader.chords() == []
    assert plain.client.zcard("celeriac-chords") == 0


def test_a_claim_of_celery_that_ran_out_is_free(plain: Place) -> None:
    """Its worker died after it had claimed the chord: the member comes again, to whomever."""
    open_chord(plain, "celery", 2)
    plain.end_on_celery("a", 0, 0)
    plain.client.set(f"{plain.base}.c", "somebody", px=200)
    assert not plain.end_here("b", 1, 1)
    (state,) = plain.reader.chords([GROUP])
    assert (state.ended, state.claimed) == (2, True)
    while plain.client.exists(f"{plain.base}.c"):
        time.sleep(0.02)
    assert plain.end_here("b", 1, 1)


def test_a_finisher_that_we_give_back_may_finish_on_celery(redis_url: str) -> None:
    plain = Place(redis_url, {"global_keyprefix": "shop"})
    open_chord(plain, "celery", 2)
    plain.end_on_celery("a", 0, 0)
    message = make_message("shop")
    message.headers |= {"group": GROUP, "group_index": 1}
    only = part(message.id, 1, 1)

    async def scenario() -> None:
        broker = RedisBroker(plain.url, make_settings(plain.options))
        producer = broker.producer()
        producer.publish([message], 5.0)
        producer.close()
        consumer = broker.consumer()
        await consumer.open("worker", ["shop"])
        (claimed,) = await consumer.claim(1, 30.0)
        assert await consumer.settle([Settlement(claimed.tag, ACK, parts=[only])]) == [Completed(claimed.tag, GROUP)]
        plain.end_on_celery(message.id, 1, 1)
        assert plain.sent_bodies() == []
        assert await consumer.settle([Settlement(claimed.tag, REQUEUE)]) == []
        await consumer.release()
        await consumer.close()

    asyncio.run(scenario())
    plain.end_on_celery(message.id, 1, 1)
    assert plain.sent_bodies() == [[0, 1]]
    plain.close()


def test_how_celery_nested_a_header_is_collected(plain: Place) -> None:
    app = plain.celery
    inner = app.GroupResult("inner", [app.AsyncResult("b"), app.AsyncResult("c")])
    plain.theirs.apply_chord((GROUP, [app.AsyncResult("a"), inner]), plain.body())
    structure = plain.reader.collect(GROUP).structure
    assert structure is not None
    assert json.loads(structure) == {
        "result": [[GROUP, None], [[["a", None], None], [["inner", None], [[["b", None], None], [["c", None], None]]]]]
    }
    assert plain.reader.fetch_group(GROUP) == structure


def test_saved_groups_are_read_by_both(place: Place) -> None:
    app = place.celery
    members = [app.AsyncResult("a"), app.AsyncResult("b")]
    app.GroupResult(GROUP, members).save()
    document = place.reader.fetch_group(GROUP)
    assert document is not None
    assert 0 < place.client.ttl(place.base) <= EXPIRES_S
    place.reader.forget_group(GROUP)
    assert app.GroupResult.restore(GROUP) is None
    place.reader.save_group(GROUP, document, EXPIRES_S)
    assert [member.id for member in app.GroupResult.restore(GROUP)] == ["a", "b"]
    assert 0 < place.client.ttl(place.base) <= EXPIRES_S


def test_workers_may_disagree_about_the_order(redis_url: str) -> None:
    ordered, unordered = Place(redis_url, {}), Place(redis_url, {"result_chord_ordered": False})
    open_chord(ordered, "celeriac", 3)
    unordered.end_on_celery("b", 1, 1)
    assert not ordered.end_here("c", 2, 2)
    assert ordered.end_here("a", 0, 0)
    assert ordered.results() == unordered.results() == [1, 2, 0]
    assert ordered.reader.collect("nothing") == Collected([])
    ordered.close()
    unordered.close()


def test_a_full_server_counts_no_more_but_is_tidied(own_redis: PrivateRedis) -> None:
    full = Place(own_redis.url, {})
    full.reader.open_chords([ChordOpening(group, 2, EXPIRES_S) for group in (GROUP, "another")])
    assert not full.end_here("a", 0, 0)
    full.client.config_set("maxmemory", "1")
    with pytest.raises(BackendUnavailable, match=r"is full: .*OOM"):
        full.end_here("b", 1, 1)
    with pytest.raises(BackendUnavailable, match=r"is full: .*OOM"):
        full.reader.open_chords([ChordOpening("third", 1, EXPIRES_S)])
    assert [(state.group_id, state.ended) for state in full.reader.chords()] == [("another", 0), (GROUP, 1)]
    full.reader.close_chords(["another"])
    full.client.config_set("maxmemory", "0")
    assert full.end_here("b", 1, 1)
    assert [state.group_id for state in full.reader.chords()] == [GROUP]
    full.close()


def test_an_option_that_is_no_flag(redis_url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="'result_chord_ordered' = 'no': True or False is wanted"):
        Place(redis_url, {"result_chord_ordered": "no"})

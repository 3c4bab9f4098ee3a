"""What the Redis consumer does beyond what every broker must: the doorbell, delays, results, scripts, rights."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from pathlib import Path

import pytest
import redis
from msgspec.structs import replace

from celeriac.backends.redis import RedisBackend
from celeriac.brokers.redis import RedisBroker
from celeriac.core.effects import ACK, REQUEUE, Dead, Record, Settlement, Verdict
from celeriac.core.message import Delivery, Revocation
from celeriac.core.queues import Exchange, Queue
from celeriac.core.settings import make_settings
from celeriac.core.workflow import ChordOpening, Collected, Completed, Part
from celeriac.exceptions import OperationalError
from celeriac.testing.broker_base import QUEUE, ids, make_message, make_messages
from tests.brokers.redis_worker import DEADLINE_S, claim_all, opened, publish, redis_broker
from tests.private_redis import rights_without_prefix
from tests.services import PrivateRedis

LONG_LEASE = 60.0
ROOT = Path(__file__).parents[2]


# -- doorbell and delays -----------------------------------------------------------------------------------------------


def test_an_idle_worker_hardly_talks_to_redis(redis_url: str) -> None:
    async def scenario() -> None:
        async with opened(redis_url, "a", "b", "c", worker_lease_s=LONG_LEASE) as consumer:
            await consumer.claim(1, 0.1)
            with redis.Redis.from_url(redis_url) as client:
                before = int(client.info("commandstats")["cmdstat_evalsha"]["calls"])
                await consumer.claim(1, 2.0)
                calls = int(client.info("commandstats")["cmdstat_evalsha"]["calls"]) - before
            assert calls <= 4  # a try each second, and one at each end

    asyncio.run(scenario())


def test_the_bell_rings_for_every_queue_and_priority(redis_url: str) -> None:
    async def scenario() -> None:
        async with opened(redis_url, "a", "b", worker_lease_s=LONG_LEASE) as consumer:
            for queue in ("a", "b"):
                for priority in (0, 9):
                    rung = asyncio.create_task(consumer.claim(1, DEADLINE_S))
                    message = make_message(queue, priority=priority)
                    await asyncio.to_thread(publish, redis_url, [message])
                    claimed = await rung
                    assert ids(claimed) == [message.id]
                    # Given back by ourselves, it rings for ourselves as well.
                    again = asyncio.create_task(consumer.claim(1, DEADLINE_S))
                    await consumer.settle([Settlement(claimed[0].tag, REQUEUE)])
                    claimed = await again
                    assert ids(claimed) == [message.id]
                    await consumer.settle([Settlement(claimed[0].tag, ACK)])

    asyncio.run(scenario())


@pytest.mark.parametrize("behind_s", [-90.0, 90.0])
def test_a_worker_knows_how_far_its_clock_is_off(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, behind_s: float
) -> None:
    """So that what it delays by the clock of Redis does not come back at once, again and again."""
    real = time.time
    monkeypatch.setattr("celeriac.brokers.redis.consumer.time.time", lambda: real() - behind_s)

    async def scenario() -> None:
        async with opened(redis_url, worker_lease_s=LONG_LEASE) as consumer:
            assert consumer.ahead_s == pytest.approx(behind_s, abs=0.5)
            await asyncio.to_thread(publish, redis_url, [make_message()])
            (delivery,) = await consumer.claim(1, DEADLINE_S)
            later = make_message(not_before=time.time() + consumer.ahead_s + 30)
            await consumer.settle([Settlement(delivery.tag, ACK, [later])])
            with redis.Redis.from_url(redis_url) as client:
                ((_, due_at),) = client.zrange(f"celeriac:delayed:{QUEUE}", 0, -1, withscores=True)
            assert due_at == pytest.approx(real() + 30, abs=5)

    asyncio.run(scenario())


def test_a_waiting_claim_hands_out_what_becomes_due(redis_url: str) -> None:
    """Nobody keeps the house here: who waits sees to the delays of its own queues."""

    async def scenario() -> None:
        async with opened(redis_url, worker_lease_s=LONG_LEASE) as consumer:
            waiting = asyncio.create_task(consumer.claim(1, DEADLINE_S))
            await asyncio.sleep(0.05)
            due_at = time.time() + 0.3
            later, sooner = make_message(not_before=due_at + 3600), make_message(not_before=due_at)
            await asyncio.to_thread(publish, redis_url, [later, sooner])
            assert ids(await waiting) == [sooner.id]
            assert time.time() >= due_at

    asyncio.run(scenario())


def test_the_house_moves_delays_of_queues_that_nobody_reads(redis_url: str) -> None:
    publish(redis_url, [make_message("unread", not_before=time.time() + 0.2) for _ in range(3)])

    async def scenario() -> None:
        with redis.Redis.from_url(redis_url) as client:
            async with opened(redis_url, worker_lease_s=LONG_LEASE) as consumer:
                until = time.monotonic() + DEADLINE_S
                while client.llen("unread") < 3:
                    assert time.monotonic() < until
                    pause_s = await consumer.maintain()
                    assert 0 <= pause_s <= 1
                    await asyncio.sleep(pause_s)
            assert not client.exists("celeriac:delayed:unread")

    asyncio.run(scenario())


def test_many_workers_race_for_few_messages_and_lose_none(redis_url: str) -> None:
    messages = make_messages(100)
    producer = redis_broker(redis_url).producer()

    async def scenario() -> None:
        async with (
            opened(redis_url, worker_lease_s=LONG_LEASE) as one,
            opened(redis_url, worker_lease_s=LONG_LEASE) as two,
            opened(redis_url, worker_lease_s=LONG_LEASE) as three,
        ):
            claimed: list[Delivery] = []

            async def work(consumer: object) -> None:
                while len(claimed) < len(messages):
                    claimed.extend(await consumer.claim(1, 0.2))  # type: ignore[attr-defined]

            async def send() -> None:
                for message in messages:
                    await asyncio.to_thread(producer.publish, [message], DEADLINE_S)

            await asyncio.gather(work(one), work(two), work(three), send())
            assert sorted(ids(claimed)) == sorted(ids(messages))

    asyncio.run(scenario())
    producer.close()


# -- rights ------------------------------------------------------------------------------------------------------------


async def use_chords(url: str, *, ordered: bool) -> None:
    """Do all that a backend can do about a chord."""
    options = {"result_backend_transport_options": {"result_chord_ordered": ordered}}
    backend, group = RedisBackend(url, make_settings(options)), f"ordered {ordered}"
    reader, writer = backend.reader(), backend.writer()
    reader.save_group(group, b"saved", 60.0)
    await writer.open_chords([ChordOpening(group, 1, 60.0, b"body")])
    reader.extend_chord(group, "b", 60.0)
    parts = [Part(group, member, at, f'["{member}"]'.encode(), 60.0, b"body") for at, member in enumerate("ab")]
    assert await writer.join(parts) == [False, True]
    (state,) = reader.chords()
    assert reader.chords([group]) == await writer.chords(10) == [state]
    collected = Collected([part.payload for part in parts], reader.fetch_group(group))
    assert await writer.collect(group) == reader.collect(group) == collected
    await writer.close_chords([group])
    reader.forget_group(group)
    reader.close()
    await writer.close()


def test_the_documented_rights_are_enough(own_redis: PrivateRedis) -> None:
    rights = rights_without_prefix(QUEUE)
    assert "on" in rights
    with redis.Redis.from_url(own_redis.url) as client:
        client.execute_command("ACL", "SETUSER", "shop", "reset", ">secret", *rights)
    url = f"redis://shop:secret@127.0.0.1:{own_redis.port}/0"
    broker = RedisBroker(url, make_settings({"result_backend": f"{url[:-1]}1"}))
    producer, admin = broker.producer(), broker.admin()
    admin.declare([QUEUE])
    producer.publish([*make_messages(3), make_message(not_before=time.time() + 0.1)], DEADLINE_S)
    admin.revoke([Revocation("some", time.time() + 60)])

    async def scenario() -> None:
        consumer = broker.consumer()
        await consumer.open("test@rights", [QUEUE])
        assert consumer._doorbell.is_told
        assert len(await consumer.revocations()) == 1
        first, second, third, fourth = await claim_all(consumer, 4)
        record = Record("some", "SUCCESS", b'{"status": "SUCCESS"}', 60.0)
        assert not await consumer.settle(
            [
                Settlement(first.tag, ACK, make_messages(1), [record]),
                Settlement(second.tag, REQUEUE),
                Settlement(third.tag, Dead("why"), [make_message(not_before=time.time() + 60)]),
            ]
        )
        for ordered in (True, False):
            await use_chords(f"{url[:-1]}1", ordered=ordered)
        await consumer.publish(make_messages(2))
        assert fourth.message
        await consumer.release()
        await consumer.close()

    asyncio.run(scenario())
    (letter,) = admin.dead_letters(QUEUE, 10)
    assert admin.dead_retry(QUEUE, [letter.id]) == 1
    assert [depth.queue for depth in admin.depths(admin.queues())] == [QUEUE]
    assert admin.purge(QUEUE) == 7
    admin.close()
    producer.close()


def test_without_the_right_to_be_told_it_looks_by_itself(
    own_redis: PrivateRedis, caplog: pytest.LogCaptureFixture
) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.execute_command("ACL", "SETUSER", "shop", "on", ">secret", "~*", "&*", "+@all", "-client")
    url = f"redis://shop:secret@127.0.0.1:{own_redis.port}/0"

    async def scenario() -> None:
        async with opened(url, worker_lease_s=LONG_LEASE) as consumer:
            for _ in range(3):
                waiting = asyncio.create_task(consumer.claim(1, DEADLINE_S))
                await asyncio.sleep(0.05)
                await asyncio.to_thread(publish, own_redis.url, [message := make_message()])
                assert ids(await waiting) == [message.id]
            assert consumer._connection is not None
            consumer._connection.close()
            await consumer.heartbeat()

    with caplog.at_level(logging.WARNING, "celeriac"):
        asyncio.run(scenario())
    assert len([record for record in caplog.records if "CLIENT TRACKING" in record.message]) == 1, "said once"


def test_a_missing_right_is_named(own_redis: PrivateRedis) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.execute_command("ACL", "SETUSER", "shop", "on", ">secret", "~*", "&*", "+@all", "-lpush", "-evalsha")
    url = f"redis://shop:secret@127.0.0.1:{own_redis.port}/0"
    with pytest.raises(OperationalError, match=r"forbids this to user 'shop': NOPERM .*'lpush'"):
        publish(url, make_messages(1))
    with pytest.raises(OperationalError, match=r"forbids this to user 'shop': NOPERM .*'evalsha'"):
        asyncio.run(redis_broker(url).consumer().open("test@0", [QUEUE]))


@pytest.mark.parametrize("right", ["hset", "zadd", "lpush", "rpush", "publish", "hdel", "rpop"])
def test_a_missing_right_loses_no_message(own_redis: PrivateRedis, right: str) -> None:
    """Whichever command of a script Redis refuses: each message is in its queue, or still claimed."""
    url = f"redis://shop:secret@127.0.0.1:{own_redis.port}/0"
    publish(own_redis.url, messages := make_messages(3))
    publish(own_redis.url, [due := make_message(not_before=time.time() + 0.1)])

    settled = 0

    async def scenario() -> None:
        nonlocal settled
        consumer = redis_broker(url, result_backend=url).consumer()
        verdicts: list[Verdict] = [ACK, REQUEUE, Dead("why"), ACK]
        with pytest.raises(OperationalError, match="forbids this to user 'shop'"):
            await consumer.open(f"test@{right}", [QUEUE])
            claimed = await claim_all(consumer, 4)
            for delivery, verdict in zip(claimed, verdicts, strict=True):
                record = Record("id", "SUCCESS", b'{"status": "SUCCESS"}', 60.0)
                delayed = make_message("after", not_before=time.time() + 60)
                await consumer.settle([Settlement(delivery.tag, verdict, [make_message("after"), delayed], [record])])
                settled += verdict is ACK
        await consumer.close()

    with redis.Redis.from_url(own_redis.url) as client:
        client.execute_command("ACL", "SETUSER", "shop", "on", ">secret", "~*", "&*", "+@all", f"-{right}")
        asyncio.run(scenario())
        (parked, claims) = (client.hvals(f"celeriac:{kind}") for kind in (f"dead:{QUEUE}", f"claims:test@{right}"))
        waiting = [*client.lrange(QUEUE, 0, -1), *client.zrange(f"celeriac:delayed:{QUEUE}", 0, -1)]
        there = b" ".join([*waiting, *parked, *claims]).decode()
        missing = [message.id for message in [*messages, due] if message.id not in there]
        assert len(missing) <= settled


# -- settling ----------------------------------------------------------------------------------------------------------


def test_results_are_stored_with_the_settlement_in_the_backends_database(redis_url: str) -> None:
    (message,) = make_messages(1)
    publish(redis_url, [message])
    backend_url = re.sub(r"\d+$", "15", redis_url)
    settings = {
        "result_backend": backend_url,
        "result_backend_transport_options": {"global_keyprefix": "res"},
    }
    document = b'{"status": "SUCCESS", "result": "\xc3\xa4"}'

    async def scenario() -> None:
        with redis.Redis.from_url(backend_url) as client, client.pubsub() as listener:
            key = f"res_celery-task-meta-{message.id}"
            listener.subscribe(key)
            listener.get_message(timeout=DEADLINE_S)
            async with opened(redis_url, **settings) as consumer:
                assert consumer.stores_records
                (claimed,) = await claim_all(consumer, 1)
                records = [
                    Record(message.id, "SUCCESS", document, 100.0),
                    Record(message.id, "FAILURE", b'{"status": "FAILURE"}', 100.0),
                    Record("for-ever", "FAILURE", b'{"status": "FAILURE"}', None),
                ]
                after = make_message("after")
                assert await consumer.settle([Settlement(claimed.tag, ACK, [after], records)]) == []
            assert client.get(key) == document
            assert 0 < client.ttl(key) <= 100
            assert client.ttl("res_celery-task-meta-for-ever") == -1
            told = listener.get_message(timeout=DEADLINE_S)
            assert told is not None
            assert told["data"] == document
            client.delete(key, "res_celery-task-meta-for-ever")
        with redis.Redis.from_url(redis_url) as client:
            assert client.llen("after") == 1
            assert not client.exists(key)

    asyncio.run(scenario())


def test_a_finisher_that_is_parked_leaves_its_chord_open(redis_url: str) -> None:
    """One of its follow-ups cannot be sent; that may be the chord's body, which is then sent when the letter is retried."""
    (message,) = make_messages(1)
    publish(redis_url, [message])
    settings = {"result_backend": redis_url, "task_queues": [Queue("bound", Exchange("media", "direct"), "bound")]}
    reader = RedisBackend(redis_url, make_settings(settings)).reader()
    reader.open_chords([ChordOpening(group, 1, 60.0) for group in ("own", "other")])
    parts = [Part("own", "a", 0, b"[1]", 60.0), Part("other", "a", 0, b"[2]", 60.0)]
    unroutable = replace(make_message(""), exchange="media", routing_key="nowhere")

    async def scenario() -> None:
        async with opened(redis_url, **settings) as consumer:
            (claimed,) = await claim_all(consumer, 1)
            finished = Settlement(claimed.tag, ACK, [unroutable, make_message("after")], parts=parts)
            for group in ("own", "other"):
                assert await consumer.settle([finished]) == [Completed(claimed.tag, group)]
                finished.closes.append(group)
            assert await consumer.settle([finished]) == []

    asyncio.run(scenario())
    assert {state.group_id: state.claimed for state in reader.chords()} == {"own": True, "other": True}
    reader.close()
    with redis.Redis.from_url(redis_url) as client:
        assert client.llen("after") == 1
        assert client.hlen(f"celeriac:dead:{QUEUE}") == 1


@pytest.mark.parametrize(
    "backend", [None, "redis://127.0.0.1:1/0", "redis://shop:x@{place}", "rpc://", "disabled://", "db+sqlite:///x"]
)
def test_results_kept_elsewhere_are_not_its_business(redis_url: str, backend: str | None) -> None:
    place = redis_url.removeprefix("redis://")
    url = backend.format(place=place) if backend else None
    assert not RedisBroker(redis_url, make_settings({"result_backend": url})).consumer().stores_records
    assert RedisBroker(redis_url, make_settings({"result_backend": redis_url})).consumer().stores_records


@pytest.mark.parametrize(
    ("stored", "stays"),
    [
        (b'{"status": "SUCCESS", "result": 1}', True),
        (b'{"status":"SUCCESS"}', True),
        (b'{"result": 1, "status": "SUCCESS"}', True),
        (b'{"status": "FAILURE", "result": {"status": "SUCCESS"}}', False),
        (b'{"result": {"status": "SUCCESS"}, "status": "FAILURE"}', False),
        (b'{"result": "\\"status\\": \\"SUCCESS\\"", "status": "STARTED"}', False),
        (b'{"status": "SUCCESSFUL"}', False),
        (b"SUCCESS", False),
        (b"[" * 2000, False),
    ],
)
def test_only_a_success_is_never_overwritten(redis_url: str, stored: bytes, stays: bool) -> None:
    (message,) = make_messages(1)
    publish(redis_url, [message])
    new = b'{"status": "FAILURE", "result": null}'

    async def scenario() -> None:
        with redis.Redis.from_url(redis_url) as client:
            key = f"celery-task-meta-{message.id}"
            client.set(key, stored)
            async with opened(redis_url, result_backend=redis_url) as consumer:
                (claimed,) = await claim_all(consumer, 1)
                settlement = Settlement(claimed.tag, ACK, [], [Record(message.id, "FAILURE", new, 100.0)])
                assert await consumer.settle([settlement]) == []
            assert client.get(key) == (stored if stays else new)

    asyncio.run(scenario())


def test_large_batches_are_split(redis_url: str) -> None:
    messages = make_messages(1300)
    publish(redis_url, messages)

    async def scenario() -> None:
        async with opened(redis_url, worker_lease_s=LONG_LEASE, result_backend=redis_url) as consumer:
            claimed = await claim_all(consumer, 1300)
            assert ids(claimed) == ids(messages)
            settlements = [
                Settlement(
                    delivery.tag,
                    ACK,
                    [],
                    [Record(f"{number}", "SUCCESS", b'{"status": "SUCCESS"}' + b" " * 8000, 60.0)],
                )
                for number, delivery in enumerate(claimed)
            ]
            assert await consumer.settle(settlements[:100]) == []
            lost = await consumer.settle(settlements)
            assert [one.tag for one in lost] == [delivery.tag for delivery in claimed[:100]]
            with redis.Redis.from_url(redis_url) as client:
                assert client.exists(*(f"celery-task-meta-{number}" for number in range(1300))) == 1300

    asyncio.run(scenario())


def test_a_claim_of_large_messages_is_bounded(redis_url: str) -> None:
    messages = make_messages(100)
    for message in messages:
        message.body = b'["' + b"x" * 700_000 + b'"]'
    producer = redis_broker(redis_url).producer()
    for message in messages:
        producer.publish([message], DEADLINE_S)
    producer.close()

    async def scenario() -> None:
        # Seventy megabytes: a busy machine may need a while for them.
        async with opened(redis_url, worker_lease_s=LONG_LEASE, publish_timeout_s=60.0) as consumer:
            claimed = await consumer.claim(100, 1.0)
            assert len(claimed) < 100
            claimed += await claim_all(consumer, 100 - len(claimed))
            assert ids(claimed) == ids(messages)

    asyncio.run(scenario())


def test_scripts_that_the_server_has_dropped_are_loaded_again(redis_url: str) -> None:
    publish(redis_url, make_messages(3))

    async def scenario() -> None:
        async with opened(redis_url) as consumer:
            with redis.Redis.from_url(redis_url) as client:
                claimed: list[Delivery] = []
                for _ in range(3):
                    client.script_flush()
                    claimed += await consumer.claim(1, 1.0)
                    client.script_flush()
                    assert await consumer.heartbeat()
                client.script_flush()
                assert await consumer.settle([Settlement(delivery.tag, ACK) for delivery in claimed]) == []
                client.script_flush()
                await consumer.maintain()

    asyncio.run(scenario())


def test_revocations_come_again_after_the_server_lost_its_memory(own_redis: PrivateRedis) -> None:
    async def scenario() -> None:
        async with opened(own_redis.url) as consumer:
            admin = redis_broker(own_redis.url).admin()
            for name in ("one", "two"):
                revocation = Revocation(name, time.time() + 60)
                await asyncio.to_thread(admin.revoke, [revocation])
                assert await consumer.revocations() == [revocation]
                with redis.Redis.from_url(own_redis.url) as client:
                    client.flushall()
                assert await consumer.revocations() == []
            admin.close()

    asyncio.run(scenario())


def test_what_was_told_is_not_told_again_when_a_later_revocation_has_ended(redis_url: str) -> None:
    async def scenario() -> None:
        async with opened(redis_url) as consumer:
            admin = redis_broker(redis_url).admin()
            lasting = [Revocation(name, time.time() + 60) for name in ("one", "two")]
            passing = Revocation("passing", time.time() + 60)
            await asyncio.to_thread(admin.revoke, [lasting[0], passing])
            assert await consumer.revocations() == [lasting[0], passing]
            with redis.Redis.from_url(redis_url) as client:
                client.zadd("celeriac:revoked-ends", {passing.id: 1.0})  # its time is over
            await consumer.maintain()
            assert await consumer.revocations() == []
            await asyncio.to_thread(admin.revoke, [lasting[1]])
            consumer._housekeeping._expire_from = 0.0
            await consumer.maintain()
            assert await consumer.revocations() == [lasting[1]]
            admin.close()
        with redis.Redis.from_url(redis_url) as client:
            assert set(client.hkeys("celeriac:revoked")) == {b"one", b"two"}, "what has ended goes with the next"

    asyncio.run(scenario())


def test_depths_count_claims_by_queue_over_all_workers(redis_url: str) -> None:
    publish(redis_url, [*make_messages(5, "a"), *make_messages(3, "b", priority=9), make_message("a", priority=3)])

    async def scenario() -> None:
        async with opened(redis_url, "a", "b") as one, opened(redis_url, "a") as two:
            await one.claim(4, 1.0)
            await two.claim(1, 1.0)
            admin = redis_broker(redis_url).admin()
            a, b = await asyncio.to_thread(admin.depths, ["a", "b"])
            admin.close()
            claimed = [a.claimed or 0, b.claimed or 0]
            assert sum(claimed) == 5
            assert [a.ready, b.ready] == [6 - claimed[0], 3 - claimed[1]]
            assert a.oldest_age_s is not None
            assert 0 <= a.oldest_age_s < 600

    asyncio.run(scenario())

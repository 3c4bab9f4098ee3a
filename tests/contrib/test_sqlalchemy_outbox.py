"""The outbox as a table, on SQLite and on PostgreSQL: what stands in it, who gets it, and what a death leaves behind."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from celeriac.contrib.outbox import Outbox
from celeriac.contrib.sqlalchemy import delay_via_outbox
from celeriac.exceptions import BrokerUnavailable
from celeriac.torture.servers.service import wait_until
from tests.client.recording import RecordingBackend, RecordingBroker
from tests.contrib.sqlalchemy_databases import made_database
from tests.contrib.sqlalchemy_shop import DATABASE_VARIABLE, PREFIX_VARIABLE, Entry, Shop, prefix
from tests.program import Program

MANY = 150


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with made_database(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def broker() -> RecordingBroker:
    return RecordingBroker()


@pytest.fixture
def shop(broker: RecordingBroker, database: str) -> Iterator[Shop]:
    shop = Shop(database, broker=broker, backend=RecordingBackend(), publish_timeout_s=0.2, outbox_batch_max=3)
    yield shop
    shop.close()


def outbox_of(shop: Shop) -> Outbox:
    assert isinstance(shop.app.outbox, Outbox)
    return shop.app.outbox


def write(shop: Shop, *texts: str) -> list[str]:
    with shop.sessions() as session, session.begin():
        return [delay_via_outbox(session, shop.note, text).id for text in texts]


def ids(broker: RecordingBroker) -> list[str]:
    return [message.id for message in broker.sent.messages]


def test_committed_rows_are_published_in_order_and_once(shop: Shop, broker: RecordingBroker) -> None:
    expected = write(shop, *"abcde")
    with shop.sessions() as session:
        session.add(Entry(text="lost"))
        delay_via_outbox(session, shop.note, "lost")
        session.flush()
        session.rollback()
    with shop.sessions() as session, session.begin():
        savepoint = session.begin_nested()
        delay_via_outbox(session, shop.note, "lost too")
        savepoint.rollback()
        expected.append(delay_via_outbox(session, shop.note, "f").id)
    outbox = outbox_of(shop)
    assert broker.sent.messages == []
    assert outbox.state().waiting == 6
    assert [row.task_id for row in outbox.peek(4)] == expected[:4]
    assert outbox.relay().relay_all() == 6
    assert ids(broker) == expected
    assert [len(batch) for batch in broker.sent.batches] == [3, 3]
    assert outbox.state().waiting == 0
    assert outbox.relay().relay_all() == 0


def test_a_broker_that_is_away_changes_nothing(shop: Shop, broker: RecordingBroker) -> None:
    expected = write(shop, "a", "b")
    broker.sent.failures += [BrokerUnavailable("away")] * 50
    outbox = outbox_of(shop)
    with pytest.raises(BrokerUnavailable):
        outbox.relay().relay_all()
    broker.sent.failures.clear()
    assert outbox.state().waiting == 2
    outbox.relay().relay_all()
    assert ids(broker) == expected


def test_two_relays_share_the_work(shop: Shop, broker: RecordingBroker) -> None:
    expected = write(shop, *"abcdef")
    outbox, other = outbox_of(shop), Shop(str(shop.engine.url.render_as_string(False)), broker=broker)
    broker.sent.gate.clear()
    first = threading.Thread(target=outbox.relay().relay_all)
    first.start()
    assert broker.sent.entered.wait(30)  # it holds a batch now
    with outbox_of(other).store.claim(10) as claim:
        # PostgreSQL gives the others what is free; on SQLite one relay works at a time.
        assert [row.task_id for row in claim.rows] == ([] if shop.engine.dialect.name == "sqlite" else expected[3:])
    write(shop, "g")  # and the program writes meanwhile
    broker.sent.gate.set()
    first.join()
    outbox.relay().relay_all()
    assert sorted(set(ids(broker))) == sorted(ids(broker))
    assert set(expected) < set(ids(broker))
    other.engine.dispose()


def test_rows_that_can_not_be_published_are_set_aside(shop: Shop, broker: RecordingBroker) -> None:
    outbox = outbox_of(shop)
    good = write(shop, "good")
    bad = outbox.peek(1)[0]
    bad.message = b"\xc1"
    bad.task_id = "bad"
    with shop.sessions() as session, session.begin():
        outbox.store.add(bad, session)
    outbox.relay().relay_all()
    assert ids(broker) == good
    state = outbox.state()
    assert (state.waiting, state.parked) == (0, 1)
    assert "holds no message" in (outbox.peek(5)[0].problem or "")
    assert outbox.retry(["another"]) == 0
    assert outbox.retry() == 1
    assert outbox.state().waiting == 1
    assert (outbox.purge(["another"]), outbox.purge(["bad"])) == (0, 1)
    write(shop, "x", "y")
    assert outbox.purge(everything=True) == 2


def test_a_relay_that_dies_before_the_delete_publishes_again(shop: Shop, broker: RecordingBroker) -> None:
    expected = write(shop, "a", "b")

    def die(_connection: Connection, _cursor: Any, statement: str, *_more: Any) -> None:
        if statement.startswith("DELETE"):
            raise ConnectionError("the database went away")

    event.listen(shop.engine, "before_cursor_execute", die)
    with pytest.raises(ConnectionError):
        outbox_of(shop).relay().relay_all()
    event.remove(shop.engine, "before_cursor_execute", die)
    outbox_of(shop).relay().relay_all()
    assert ids(broker) == [*expected, *expected]


@pytest.mark.redis
def test_a_killed_relay_loses_nothing(database: str, redis_url: str, tmp_path: Path) -> None:
    import redis

    shop = Shop(database, broker=redis_url)
    expected = []
    for number in range(3):
        expected += write(shop, *(f"{number}/{index}" for index in range(MANY // 3)))
    client = redis.Redis.from_url(redis_url)
    environment = {
        DATABASE_VARIABLE: database,
        PREFIX_VARIABLE: prefix,
        "CELERIAC_BROKER_URL": redis_url,
        "E2E_SETTINGS": '{"outbox_batch_max": 2, "outbox_poll_s": 0.05}',
        "PYTHONWARNINGS": "error",
        "E2E_JOURNAL": os.devnull,
    }
    command = ["celeriac", "-A", "tests.contrib.sqlalchemy_shop", "outbox", "relay"]
    victim = Program("victim", command, environment, tmp_path)
    wait_until(lambda: int(client.llen("celery")) >= 10, "it is in the middle", every_s=0.0005)
    victim.kill()
    assert outbox_of(shop).state().waiting > 0, "it was killed too late to say anything"
    relay = Program("relay", command, environment, tmp_path)
    wait_until(lambda: outbox_of(shop).state().waiting == 0, "all is relayed")
    assert relay.stop() == 0
    found = [json.loads(raw)["headers"]["id"] for raw in reversed(client.lrange("celery", 0, -1))]
    assert list(dict.fromkeys(found)) == expected
    assert len(found) <= len(expected) + 2, "at most the batch that it died with was published twice"
    client.close()
    shop.close()

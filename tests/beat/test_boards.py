"""Every board keeps texts, and changes each only for who knows what stands there; where it is the broker's, messages go with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from celeriac import Celeriac
from celeriac.beat.places import Place, find_place, open_board
from celeriac.core.boards import Board, Move
from celeriac.core.ports import OnceProducer
from celeriac.exceptions import BrokerUnavailable, CoordinationUnavailable, ImproperlyConfigured, Unroutable
from tests.backends.sqlalchemy_places import Place as Database
from tests.services import PrivateRedis

TIMEOUT_S = 10.0


@pytest.fixture(params=["memory", "sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def broker_app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Celeriac]:
    """An app on each broker that keeps boards."""
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/broker.db"}
    url = urls.get(request.param) or request.getfixturevalue("redis_url")
    with Celeriac("boards", broker=url, set_as_current=False) as app:
        app.task(name="note")(lambda *args: None)
        yield app


@pytest.fixture
def board(broker_app: Celeriac) -> Iterator[Board]:
    board = open_board(broker_app, find_place(broker_app))
    yield board
    board.close()


def check_moves(board: Board) -> None:
    """Put a board that is empty through everything that may stand there and be done."""

    def write(before: str | None, after: str | None, field: str = "f") -> bool:
        return board.write([Move(field, before, after)], TIMEOUT_S)[0]

    assert board.read(TIMEOUT_S) == {}
    assert write(None, "one")
    assert not write(None, "other")
    assert not write("no", "other")
    assert not write("absent", "x", "g")
    assert write("one", "zwei: \u00fc 0 \U0001f600")
    assert board.read(TIMEOUT_S) == {"f": "zwei: \u00fc 0 \U0001f600"}
    assert not write("zwei", None)
    assert write("zwei: \u00fc 0 \U0001f600", "")
    assert write("", None)
    assert not write("", None)
    moves = [Move("a", None, "1"), Move("a", None, "2"), Move("A", None, "3"), Move("a", "1", "4")]
    assert board.write(moves, TIMEOUT_S) == [True, False, True, True]
    assert board.write([], TIMEOUT_S) == []
    assert board.read(TIMEOUT_S) == {"a": "4", "A": "3"}


def check_one_wins(board: Board) -> None:
    """Have many write at once."""
    won = []

    def move(text: str) -> None:
        if board.write([Move("race", None, text)], TIMEOUT_S) == [True]:
            won.append(text)

    threads = [threading.Thread(target=move, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [board.read(TIMEOUT_S)["race"]] == won


def test_a_broker_keeps_a_board(board: Board) -> None:
    check_moves(board)
    check_one_wins(board)


def test_a_database_keeps_a_board(any_database: Database) -> None:
    any_database.empty()
    with Celeriac("boards", broker="memory://", beat_store_url=any_database.backend_url, set_as_current=False) as app:
        board = open_board(app, find_place(app))
        other = open_board(app, Place(any_database.backend_url, "schedule:other", is_broker=False))
        check_moves(board)
        check_one_wins(board)
        assert other.read(TIMEOUT_S) == {}
        board.close()
        other.close()


def test_a_message_goes_with_a_move_or_not_at_all(broker_app: Celeriac, board: Board) -> None:
    producer = cast("OnceProducer", broker_app.broker.producer())
    name = find_place(broker_app).name
    now = broker_app.message("note", (1,))
    later = broker_app.message("note", (2,), None, {"countdown": 3600})

    assert producer.publish_once(name, Move("f", None, "1"), [now, later], TIMEOUT_S)
    assert not producer.publish_once(name, Move("f", None, "2"), [now], TIMEOUT_S)
    assert not producer.publish_once(name, Move("f", "0", "2"), [now], TIMEOUT_S)
    assert producer.publish_once(name, Move("f", "1", "2"), [], TIMEOUT_S)
    assert board.read(TIMEOUT_S) == {"f": "2"}
    admin = broker_app.broker.admin()
    (depth,) = admin.depths(["celery"])
    # On Redis what is delayed waits in the queue itself while no worker of ours is alive.
    assert depth.ready + (depth.delayed or 0) == 2

    astray = broker_app.message("note", (3,), None, {"exchange": "nowhere", "routing_key": "x"})
    with pytest.raises(Unroutable):
        producer.publish_once(name, Move("f", "2", "3"), [astray], TIMEOUT_S)
    assert board.read(TIMEOUT_S) == {"f": "3"}
    admin.close()
    producer.close()


@pytest.mark.redis
def test_a_board_in_redis_is_one_key_that_expires(redis_url: str, redis_server: PrivateRedis) -> None:
    import redis

    with Celeriac("boards", broker=redis_url, beat_namespace="shop", set_as_current=False) as app:
        board = open_board(app, find_place(app))
        board.write([Move("f", None, "1")], TIMEOUT_S)
        with redis.Redis.from_url(redis_url) as client:
            assert client.keys() == [b"celeriac:board:schedule:shop"]
            assert client.ttl("celeriac:board:schedule:shop") > 300 * 86_400
            client.expire("celeriac:board:schedule:shop", 10)
            board.write([], TIMEOUT_S)
            assert client.ttl("celeriac:board:schedule:shop") > 300 * 86_400
        board.close()


@pytest.mark.redis
def test_a_place_that_is_away_is_an_error_and_comes_back(own_redis: PrivateRedis) -> None:
    with Celeriac("boards", broker=own_redis.url, set_as_current=False) as app:
        board, producer = open_board(app, find_place(app)), cast("OnceProducer", app.broker.producer())
        own_redis.kill()
        with pytest.raises(CoordinationUnavailable):
            board.read(1.0)
        with pytest.raises(BrokerUnavailable):
            producer.publish_once("b", Move("f", None, "1"), [], 1.0)
        own_redis.start()
        assert board.read(TIMEOUT_S) == {}
        assert producer.publish_once("b", Move("f", None, "1"), [], TIMEOUT_S)
        board.close()
        producer.close()


@pytest.mark.parametrize(
    ("settings", "url", "in_one_step", "is_makeshift"),
    [
        ({"broker_url": "redis://r/1"}, "redis://r/1", True, False),
        ({"broker_url": "redis://r/1", "coordination_url": "redis://s/2"}, "redis://s/2", False, False),
        ({"broker_url": "amqp://r//", "result_backend": "redis://s/2"}, "redis://s/2", False, False),
        (
            {"broker_url": "amqp://r//", "result_backend": "db+sqlite:////tmp/r.db"},
            "db+sqlite:////tmp/r.db",
            False,
            False,
        ),
        ({"broker_url": "amqp://r//", "beat_store_url": "sqlite:////tmp/s.db"}, "sqlite:////tmp/s.db", False, False),
        (
            {"broker_url": "amqp://r//", "result_backend": "rpc://", "beat_schedule_filename": "/tmp/beat"},
            "sqlite:////tmp/beat.sqlite",
            False,
            True,
        ),
    ],
)
def test_where_schedulers_meet(settings: dict[str, str], url: str, in_one_step: bool, is_makeshift: bool) -> None:
    app = Celeriac("boards", set_as_current=False, changes=settings)
    assert find_place(app) == Place(url, "schedule:boards", in_one_step, is_makeshift)


def test_what_cannot_keep_a_schedule_is_told() -> None:
    app = Celeriac("boards", set_as_current=False, broker="memory://", beat_store_url="amqp://guest:secret@r//")
    with pytest.raises(ImproperlyConfigured, match=r"beat_store_url='amqp://guest:\*+@r//' can't keep a schedule"):
        find_place(app)

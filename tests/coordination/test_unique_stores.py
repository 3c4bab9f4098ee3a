"""Every store of unique keys follows the one set of rules, in one step whatever others do."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac.coordination.unique import UniqueStore, open_unique_store
from celeriac.coordination.unique_memory import MemoryUniqueStore
from celeriac.core.settings import make_settings
from celeriac.core.unique import Answer, Arrive, Hold, OnConflict, Release, Step, Take, Undo, Until
from celeriac.exceptions import CoordinationUnavailable, ImproperlyConfigured
from celeriac.torture.servers.service import wait_until
from tests.services import PrivateRedis

TIMEOUT_S = 10.0
SETTINGS = make_settings({})
ON_CONFLICT: tuple[OnConflict, ...] = ("drop", "replace", "queue", "raise")
UNTIL: tuple[Until, ...] = ("started", "done", "window")


@pytest.fixture(params=["memory", "sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    match request.param:
        case "memory":
            return "memory://"
        case "sqlite":
            return f"sqlite:///{tmp_path}/keys.db"
    redis_url: str = request.getfixturevalue("redis_url")
    return redis_url


@pytest.fixture
def store(url: str) -> Iterator[UniqueStore]:
    store = open_unique_store(url, SETTINGS)
    yield store
    store.close()


def one(store: UniqueStore, step: Step) -> Answer:
    return store.apply([step], TIMEOUT_S)[0]


def random_step(chance: random.Random) -> Step:
    """One step with a key and an id of a few, and times that do not run out while the test runs."""
    key, task_id = chance.choice("kl"), chance.choice("abcd")
    on_conflict, hold_s = chance.choice(ON_CONFLICT), chance.choice((500.0, 900.0))
    window_s = chance.choice((0.0, 0.0, 700.0))
    match chance.randrange(8):
        case 0 | 1 | 2:
            return Take(key, task_id, hold_s, window_s, on_conflict)
        case 3 | 4:
            return Arrive(key, task_id, chance.choice(UNTIL), on_conflict, 500.0, 600.0, window_s)
        case 5:
            return Release(key, task_id)
        case 6:
            how = chance.randrange(3)
            return Hold(key, task_id, hold_s, exactly=how == 1, anew=how == 2)
    return Undo(key, task_id, chance.choice(("", "a", "b")))


def test_a_store_answers_as_the_rules_say(store: UniqueStore) -> None:
    for seed in range(40):
        model = MemoryUniqueStore()
        chance = random.Random(seed)
        steps = [random_step(chance) for _ in range(60)]
        assert store.apply(steps, TIMEOUT_S) == model.apply(steps, TIMEOUT_S), f"seed {seed}"
        # Each seed begins anew.
        store.apply([Release(key, task_id) for key in "kl" for task_id in "abcd" * 2], TIMEOUT_S)
        store.apply([Undo(key, task_id) for key in "kl" for task_id in "abcd" * 2], TIMEOUT_S)


def test_of_many_callers_one_gets_the_key(store: UniqueStore) -> None:
    answers: list[Answer] = []
    together = threading.Barrier(12)

    def call(number: int) -> None:
        together.wait()
        answers.append(one(store, Take("k", f"id-{number}", 100, 0, "drop")))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = [answer for answer in answers if answer.verdict == "taken"]
    assert len(taken) == 1
    holders = {answer.id for answer in answers if answer.verdict == "duplicate"}
    assert len(holders) == 1


def test_a_hold_runs_out_by_itself(store: UniqueStore) -> None:
    one(store, Take("k", "a", 0.05, 0, "drop"))
    one(store, Take("k", "b", 100, 0, "queue"))
    wait_until(lambda: one(store, Arrive("k", "b", "done", "queue", 100, 100)) == Answer("run"), "its turn has come")
    assert one(store, Take("k", "c", 100, 0, "drop")) == Answer("duplicate", "b")


def test_an_ended_call_keeps_its_window(store: UniqueStore) -> None:
    one(store, Take("k", "a", 0.01, 0.2, "drop"))
    one(store, Arrive("k", "a", "done", "drop", 100, 100))
    one(store, Release("k", "a"))
    wait_until(lambda: one(store, Take("k", "b", 100, 0, "drop")) == Answer("taken"), "the window is over")


def test_sqlite_drops_what_nobody_gave_back(tmp_path: Path) -> None:
    store = open_unique_store(f"sqlite:///{tmp_path}/keys.db", SETTINGS)
    store.apply([Take(f"k{number}", "a", 0.001, 0, "drop") for number in range(20)], TIMEOUT_S)
    import sqlite3

    def left() -> int:
        one(store, Release("other", "x"))
        with sqlite3.connect(tmp_path / "keys.db") as connection:
            count: int = connection.execute("SELECT count(*) FROM unique_keys").fetchone()[0]
        connection.close()
        return count

    wait_until(lambda: left() == 0, "old keys are gone")
    store.close()


def test_redis_keeps_no_key_for_ever(redis_url: str, redis_server: PrivateRedis) -> None:
    import redis

    store = open_unique_store(redis_url, make_settings({"broker_transport_options": {"global_keyprefix": "shop:"}}))
    one(store, Take("k", "a", 100, 0, "replace"))
    one(store, Take("k", "b", 50, 0, "replace"))
    with redis.Redis.from_url(redis_url) as client:
        assert client.keys("*") == [b"shop:celeriac:unique:k"]
        assert 50_000 < int(client.pttl("shop:celeriac:unique:k")) <= 100_000
        store.apply([Release("k", "b"), Release("k", "a")], TIMEOUT_S)
        assert client.keys("*") == []
    store.close()


def test_a_store_that_is_away_is_a_typed_error(own_redis: PrivateRedis) -> None:
    store = open_unique_store(own_redis.database_url(0), SETTINGS)
    assert one(store, Take("k", "a", 100, 0, "drop")) == Answer("taken")
    own_redis.kill()
    with pytest.raises(CoordinationUnavailable, match="cannot be reached"):
        store.apply([Take("k", "b", 100, 0, "drop")], 0.5)
    own_redis.start()
    assert one(store, Take("k", "c", 100, 0, "drop")).verdict in ("taken", "duplicate")
    store.close()


def test_a_url_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="can't keep the keys"):
        open_unique_store("amqp://guest:guest@localhost//", SETTINGS)

"""Where it is kept which signed messages were completed: in memory, in SQLite, in Redis; and a guard whose store is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.client.signing import sign_messages
from celeriac.coordination.seen import MEMORY_MAX, MemorySeenStore, SeenStore, open_seen_store
from celeriac.core.message import Delivery
from celeriac.core.settings import make_settings
from celeriac.worker.replays import ReplayGuard
from tests.services import free_port, wait_until

DEADLINE_S = 10.0
KEYS: dict[str, Any] = {"security_sign_messages": True, "security_hmac_key": "a key of sixteen bytes or more"}


@pytest.fixture(params=["memory", "sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SeenStore]:
    match request.param:
        case "memory":
            url = "amqp://keeps-nothing"
        case "sqlite":
            url = f"sqlite:///{tmp_path}/seen.db"
        case _:
            url = request.getfixturevalue("redis_url")
    opened = open_seen_store(url, make_settings({}))
    yield opened
    opened.close()


def test_marks_are_kept_for_their_time(store: SeenStore) -> None:
    assert store.seen(["a", "b"], DEADLINE_S) == set()
    assert store.seen([], DEADLINE_S) == set()
    store.remember([], 60.0, DEADLINE_S)
    store.remember(["a", "b"], 60.0, DEADLINE_S)
    store.remember(["short"], 0.5, DEADLINE_S)
    assert store.seen(["a", "b", "c"], DEADLINE_S) == {"a", "b"}
    wait_until(lambda: not store.seen(["short"], DEADLINE_S), "the short one is forgotten")
    assert store.seen(["a"], DEADLINE_S) == {"a"}


def test_memory_is_bounded() -> None:
    store = MemorySeenStore()
    store.remember([str(number) for number in range(MEMORY_MAX + 5)], 60.0, DEADLINE_S)
    assert store.seen(["0", "4", "5"], DEADLINE_S) == {"5"}


def test_a_guard_whose_store_is_away_lets_all_pass_and_tells_it_later(caplog: pytest.LogCaptureFixture) -> None:
    app = Celeriac("seen", broker=f"redis://127.0.0.1:{free_port()}/0", **KEYS)
    message = app.message("shop.pay", (1,))
    other = app.message("shop.pay", (2,))
    unsigned = Delivery(3, "celery", app.message("shop.pay"))
    sign_messages(app, [message, other])
    given = [Delivery(1, "celery", message), Delivery(2, "celery", other), unsigned, Delivery(4, "celery", None)]
    dropped: list[int] = []

    async def scenario() -> None:
        guard = ReplayGuard(app)
        assert list(await guard.sift(given, dropped.append)) == given
        assert not dropped
        guard.completed(message)
        await guard.flush()
        # What it knows itself, it knows without the store.
        assert list(await guard.sift(given, dropped.append)) == given[1:]
        assert (dropped, guard.dropped) == ([1], 1)
        await guard.close()

    with caplog.at_level(logging.WARNING, "celeriac"):
        asyncio.run(scenario())
    assert len([record for record in caplog.records if "can't be recognised now" in record.message]) == 1
    app.close()

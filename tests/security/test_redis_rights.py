"""A worker and its callers with no more rights in Redis than the operator's page lists."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from celeriac import chord
from celeriac.exceptions import OperationalError, TaskRevokedError
from tests.e2e.conftest import guard
from tests.e2e.harness import DEADLINE_S, Guard, Place
from tests.e2e.test_arguments import PROGRAM, Shop
from tests.private_redis import as_default_user, rights_without_prefix
from tests.services import PrivateRedis

__all__ = ["guard"]

SETTINGS = {"security_sign_messages": True, "security_hmac_key": "a key of sixteen bytes or more"}


@pytest.fixture
def limited(needs_redis: None) -> Iterator[PrivateRedis]:
    with PrivateRedis(rights=rights_without_prefix("q")) as server:
        yield server


def test_a_worker_with_the_documented_rights(limited: PrivateRedis, guard: Guard) -> None:
    directory = Path(tempfile.mkdtemp(dir=guard.directory))
    place = Place("redis", limited.database_url(0), limited.database_url(1), directory, limited)
    shop = Shop(place, guard, **SETTINGS)
    try:
        shop.app.control.rate_limit(f"{PROGRAM}.noted", "100/s")
        shop.app.control.revoke("some")
        worker = shop.scene.worker("-c", "1", settings=SETTINGS)
        assert shop.get("echo_twice", "a") == "aa"
        members = [shop.app.tasks[f"{PROGRAM}.echo"].s(part).set(queue=shop.scene.queue) for part in (1, 2)]
        last = shop.app.tasks[f"{PROGRAM}.echo"].s().set(queue=shop.scene.queue)
        assert chord(members)(last).get(timeout=DEADLINE_S) == [1, 2]
        shop.call("noted", key := shop.scene.key("noted"))
        shop.scene.until_done([key])
        with pytest.raises(TaskRevokedError):
            shop.call("echo", 1, task_id="some").get(timeout=DEADLINE_S)
        assert worker.terminate() == 0
        assert "NOPERM" not in worker.log, worker.log
        # What is missing is named, and so is where it stands.
        with pytest.raises(
            OperationalError, match=r"forbids this to user 'celeriac': NOPERM .* keys .*page about Redis"
        ):
            shop.call("echo", 1, queue="x-queue-of-another-program")
        with redis.Redis.from_url(as_default_user(place.broker_url)) as client:
            refused = {entry["object"] for entry in client.acl_log() if entry["username"] == "celeriac"}
        # The start's look at the server's settings may be refused.
        assert refused - {"config|get"} == {"x-queue-of-another-program"}, "nothing else was asked for"
    finally:
        shop.close()
        place.app.close()

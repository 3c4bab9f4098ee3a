"""What remote control sets for one worker, beside what is set for all: rates, time limits, revocations."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.brokers.embedded.memory import MemoryBroker
from celeriac.core.message import Revocation
from celeriac.core.policy import Policy
from celeriac.core.settings import Settings
from celeriac.torture.servers.service import wait_until
from celeriac.worker import revoker as revoker_module
from celeriac.worker.control_filter import ControlFilter
from celeriac.worker.limits import LimitBook
from celeriac.worker.revoker import Revoker
from celeriac.worker.time_limits import TimeLimits, limited


@pytest.fixture
def app() -> Iterator[Celeriac]:
    with Celeriac("set", broker="memory://", backend="memory://") as app:
        app.task(name="pay", rate_limit="1/s")(lambda: None)
        yield app


# -- rates ------------------------------------------------------------------------------------------------------------


def test_a_workers_own_rate_holds_until_one_is_set_for_all(app: Celeriac) -> None:
    book = LimitBook(app)

    def interval_s() -> float | None:
        limits = book.limits_of("pay")
        return None if limits is None else limits.interval_s

    assert interval_s() == 1.0
    book.take_rates({"pay": "2/s"})
    book.set_own("pay", "10/s")
    limits = book.limits_of("pay")
    assert limits is not None
    assert (limits.interval_s, limits.per_worker, book.rate_of("pay")) == (0.1, True, "10/s")
    book.take_rates({"pay": "2/s", "other": "1/s"})  # of another task
    assert interval_s() == 0.1
    book.take_rates({"pay": "4/s"})
    assert (interval_s(), book.rate_of("pay")) == (0.25, "4/s")
    book.set_own("pay", 0)
    assert interval_s() is None
    with pytest.raises(ValueError, match="no rate"):
        book.set_own("pay", "often")


def test_what_is_said_to_all_as_well_stays_a_rate_of_all(app: Celeriac) -> None:
    book = LimitBook(app)
    book.take_rates({"pay": "2/s"})
    book.set_own("pay", "2/s")
    limits = book.limits_of("pay")
    assert limits is not None
    assert not limits.per_worker


# -- time limits ------------------------------------------------------------------------------------------------------


def test_time_limits() -> None:
    limits = TimeLimits(Settings(task_time_limit=60.0, task_soft_time_limit=50.0))
    assert limits.of("t") is None
    limits.set("t", hard_s=5.0, soft_s=2.0)
    policy = limited(Policy(time_limit_s=1.0, soft_time_limit_s=0.5), limits.of("t"))
    assert (policy.time_limit_s, policy.soft_time_limit_s) == (5.0, 2.0)
    limits.set("t", hard_s=None, soft_s=None)
    assert limits.of("t") == (60.0, 50.0)
    limits.set("t", hard_s=10.0, soft_s=None)  # that of the settings would never be reached
    assert limits.of("t") == (10.0, None)
    for hard_s, soft_s in ((1.0, 2.0), (-1.0, None), (None, 0.0)):
        with pytest.raises(ValueError, match="limit"):
            limits.set("t", hard_s=hard_s, soft_s=soft_s)


# -- revocations ------------------------------------------------------------------------------------------------------


class Overseer:
    """Notes what it is to carry out."""

    def __init__(self) -> None:
        self.told: list[Revocation] = []

    def revoke(self, revocations: Sequence[Revocation]) -> list[Any]:
        self.told += revocations
        return []


async def nothing_new() -> list[Revocation]:
    return []


def kept(app: Celeriac) -> list[str]:
    assert isinstance(app.broker, MemoryBroker)
    return [one.id for one in app.broker._store.revocations_after(0)[1]]


def test_what_is_asked_for_is_kept_for_all_unless_another_worker_has(
    app: Celeriac, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revoker_module, "KEEP_WITHIN_S", 0.01)
    overseer = Overseer()
    revoker = Revoker(app, overseer, ControlFilter(app), nothing_new)  # type: ignore[arg-type]

    async def scenario() -> None:
        revoker.asked(["mine"], False, "SIGTERM", keep=True)
        revoker.asked(["for-one-worker"], False, "SIGTERM", keep=False)
        revoker.asked(["theirs"], False, "SIGTERM", keep=True)
        revoker.found([Revocation("theirs", time.time() + 60)])
        await asyncio.to_thread(wait_until, lambda: kept(app) == ["mine"], "it is kept")
        await revoker.close()

    asyncio.run(scenario())
    assert [one.id for one in overseer.told] == ["mine", "for-one-worker", "theirs"]
    assert kept(app) == ["mine"]
    assert revoker.foreign_ids() == ["mine", "for-one-worker", "theirs"]


def test_what_others_have_kept_is_not_written_over(app: Celeriac, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller may have signed what is kept, and this worker signs nothing."""
    monkeypatch.setattr(revoker_module, "KEEP_WITHIN_S", 0.01)
    told: list[list[Revocation]] = [[], [Revocation("kept", time.time() + 60, signature="a key, a code")]]

    async def look() -> list[Revocation]:
        return told.pop() if told else []

    revoker = Revoker(app, Overseer(), ControlFilter(app), look)  # type: ignore[arg-type]

    async def scenario() -> None:
        revoker.asked(["kept"], False, "SIGTERM", keep=True)
        await asyncio.to_thread(wait_until, lambda: len(told) == 1, "it has looked")
        revoker.asked(["mine"], False, "SIGTERM", keep=True)
        await revoker.close()

    asyncio.run(scenario())
    assert kept(app) == ["mine"]


def test_one_wish_that_is_heard_on_two_ways_is_felt_once(app: Celeriac) -> None:
    """SIGUSR1 would be raised in the task twice; said again on the same way, it is meant."""
    overseer = Overseer()
    revoker = Revoker(app, overseer, ControlFilter(app), nothing_new)  # type: ignore[arg-type]
    wish = Revocation("x", time.time() + 60, True, "SIGUSR1")

    async def scenario() -> None:
        revoker.asked(["x"], True, "SIGUSR1", keep=False)
        revoker.found([wish])
        assert len(overseer.told) == 1
        revoker.asked(["x"], True, "SIGUSR1", keep=False)
        assert len(overseer.told) == 2
        revoker.found([Revocation("x", time.time() + 60, True, "SIGKILL")])
        assert len(overseer.told) == 3

    asyncio.run(scenario())

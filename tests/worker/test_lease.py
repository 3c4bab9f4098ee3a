"""The lease as the core sees it: when it may have run out, and when it is certain again."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from celeriac.brokers.embedded.memory import MemoryBroker
from celeriac.core.settings import make_settings
from celeriac.exceptions import BrokerUnavailable
from celeriac.worker import lease
from celeriac.worker.link import Link


def test_a_lease_that_was_renewed_after_a_long_outage_is_certain_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(lease, "time", SimpleNamespace(monotonic=lambda: clock.now))

    async def scenario() -> None:
        consumer = MemoryBroker("memory://lease-after-outage", make_settings({})).consumer()
        await consumer.open("worker", ["celery"])
        back = asyncio.Event()
        opened = False

        async def reopen() -> None:
            nonlocal opened
            if opened:
                await back.wait()
            opened = True

        lost: list[bool] = []
        link = Link("a broker", reopen, lambda: lost.append(True))
        await link.open()
        kept = lease.Lease(
            consumer,
            link,
            heartbeat_s=3600.0,
            lease_s=10.0,
            on_lost=lambda: None,
            on_sure=lambda: None,
            on_revocations=lambda _: None,
        )
        link.down(BrokerUnavailable("gone"))
        renewing = asyncio.create_task(kept.renew())
        await asyncio.sleep(0)  # it waits for the connection now
        clock.now = 100.0
        back.set()
        async with asyncio.timeout(30):
            await link.call(consumer.heartbeat)
            for _ in range(20):  # more turns than a renewal takes
                await asyncio.sleep(0)
        doubts = [kept.in_doubt]
        clock.now = 111.0
        doubts.append(kept.in_doubt)
        assert doubts == [False, True]  # it was renewed at 100
        renewing.cancel()
        await link.close()
        await consumer.close()

    asyncio.run(scenario())

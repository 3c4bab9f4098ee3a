"""Connections are closed, or die without a word, while everything uses them: nothing that was accepted is lost."""

from __future__ import annotations

import pytest

from celeriac.torture.servers.proxy import Proxy
from tests.clusters.traffic import IN_FLIGHT, Traffic
from tests.services import PrivateRabbit


@pytest.mark.parametrize("harm", ["cut", "kill_silently"])
def test_connections_are_lost(rabbit_server: PrivateRabbit, rabbit_url: str, harm: str) -> None:
    times = 3 if harm == "cut" else 1  # half open ones are found out by the heartbeat only
    with Proxy(rabbit_server.port) as proxy, Traffic(proxy.url(rabbit_url), "links") as traffic:
        traffic.goes_on()
        for _ in range(times):
            getattr(proxy, harm)()
            traffic.goes_on()
        lost, extra = traffic.count()
    assert lost == 0
    assert extra <= times * IN_FLIGHT

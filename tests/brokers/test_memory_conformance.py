"""The memory broker passes the public suite."""

from __future__ import annotations

from typing import Any

import pytest

from celeriac.brokers.embedded.memory import MemoryBroker
from celeriac.core.ports import Broker
from celeriac.core.settings import make_settings
from celeriac.testing.broker_suite import BrokerSuite, MakeBroker, PutRaw


class TestMemoryBroker(BrokerSuite):
    @pytest.fixture
    def make_broker(self) -> MakeBroker:
        def make(**settings: Any) -> MemoryBroker:
            return MemoryBroker("memory://suite", make_settings(settings))

        return make

    @pytest.fixture
    def put_raw(self, broker: Broker) -> PutRaw:
        assert isinstance(broker, MemoryBroker)
        return broker.publish_raw

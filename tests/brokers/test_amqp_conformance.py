"""RabbitMQ passes the suite that every broker passes."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from celeriac.brokers.amqp.broker import AmqpBroker
from celeriac.core.ports import Broker
from celeriac.core.settings import make_settings
from tests.services import PrivateRabbit

pytest.register_assert_rewrite("celeriac.testing")
from celeriac.testing.broker_suite import BrokerSuite, CutConnections, MakeBroker  # noqa: E402


class TestQuorumQueues(BrokerSuite):
    """The default: quorum queues."""

    urgent_first = "high"
    priority_settings: ClassVar[dict[str, Any]] = {"task_default_queue_type": "classic", "task_queue_max_priority": 10}
    takes_over = "connection"
    counts_losses = False  # not the first ones: a quorum queue counts what is given back as well
    parks_after_losses = False
    requeued_to_head = False
    delayed_to_head = False
    depths_tell = frozenset({"ready", "dead"})
    purges_delayed = False
    queue_type: ClassVar[str] = "quorum"

    @pytest.fixture
    def make_broker(self, rabbit_url: str) -> MakeBroker:
        def make(**settings: Any) -> Broker:
            return AmqpBroker(rabbit_url, make_settings({"task_default_queue_type": self.queue_type} | settings))

        return make

    @pytest.fixture
    def cut_connections(self, rabbit_server: PrivateRabbit) -> CutConnections:
        def cut() -> None:
            rabbit_server.ctl("close_all_connections", "cut by a test")

        return cut


class TestClassicQueues(TestQuorumQueues):
    """The queues that Celery makes by default."""

    queue_type = "classic"

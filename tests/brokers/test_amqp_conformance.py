"""RabbitMQ passes the suite that every broker passes."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from celeriac.brokers.amqp.broker import AmqpBroker
from celeriac.core.message import QueueDepth
from celeriac.core.ports import Broker
from celeriac.core.settings import make_settings
from celeriac.testing.broker_lease_cases import LeaseCases
from celeriac.testing.broker_settle_cases import SettleCases
from celeriac.testing.broker_suite import BrokerCases, BrokerSuite, CutConnections, MakeBroker
from tests.services import PrivateRabbit


class RabbitCases(BrokerCases):
    """What RabbitMQ promises, for either type of queue."""

    urgent_first = "high"
    priority_settings: ClassVar[dict[str, Any]] = {"task_default_queue_type": "classic", "task_queue_max_priority": 10}
    takes_over = "connection"
    counts_losses = False  # not the first ones: a quorum queue counts what is given back as well
    parks_after_losses = False
    requeued_to_head = False
    delayed_to_head = False
    depths_tell = frozenset({"ready", "dead"})
    purges_delayed = False
    delays_routed = False
    queue_type: ClassVar[str] = "quorum"

    @pytest.fixture
    def make_broker(self, rabbit_url: str) -> MakeBroker:
        def make(**settings: Any) -> Broker:
            return AmqpBroker(rabbit_url, make_settings({"task_default_queue_type": self.queue_type} | settings))

        return make


class TestQuorumQueues(RabbitCases, BrokerSuite):
    """The default: quorum queues."""

    @pytest.fixture
    def cut_connections(self, rabbit_server: PrivateRabbit) -> CutConnections:
        return rabbit_server.cut_connections

    # AMQP can neither list queues nor count what is claimed: these two cases ask for what it does tell.

    def test_queues_with_messages_are_known(self, broker: Broker) -> None:
        with self.administering(broker) as admin:
            assert admin.queues() == []
            admin.declare(["suite-a", "celery"])
            assert admin.queues() == ["celery", "suite-a"]
        with self.administering(broker) as admin:
            assert admin.queues() == ["celery"]  # the default queue: others are known to those who declare them

    def test_declared_queues_exist_and_are_empty(self, broker: Broker) -> None:
        with self.administering(broker) as admin:
            admin.declare(["suite", "suite-other"])
            admin.declare(["suite"])
            depths = admin.depths(["suite", "suite-other"])
            assert depths == [QueueDepth(queue, 0, 0, None, 0) for queue in ("suite", "suite-other")]

    def test_an_unknown_queue_is_empty(self, broker: Broker) -> None:
        with self.administering(broker) as admin:
            assert self.depth(admin, "suite-never-used") == QueueDepth("suite-never-used", 0, 0, None, 0)
            assert admin.purge("suite-never-used") == 0
            assert admin.dead_letters("suite-never-used", 10) == []
            assert admin.dead_retry("suite-never-used", ["1"]) == 0
            assert admin.dead_purge("suite-never-used", ["1"]) == 0


class TestClassicQueues(RabbitCases, SettleCases, LeaseCases):
    """The queues that Celery makes by default: those cases in which the type of a queue makes a difference."""

    queue_type = "classic"

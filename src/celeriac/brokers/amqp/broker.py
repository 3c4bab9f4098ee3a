"""RabbitMQ as a broker: the factory of its three sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celeriac.brokers.amqp.producer import AmqpProducer
from celeriac.core.priorities import First
from celeriac.core.queues import QueueTable
from celeriac.core.settings import Settings
from celeriac.exceptions import ImproperlyConfigured
from celeriac.transports.amqp.nodes import Nodes

if TYPE_CHECKING:
    from celeriac.brokers.amqp.admin import AmqpAdmin
    from celeriac.brokers.amqp.consumer import AmqpConsumer
    from celeriac.brokers.amqp.messenger import AmqpMessenger


class AmqpBroker:
    """RabbitMQ 3.10 or newer behind `amqp://` or `amqps://`; nothing is connected, and no side imported, before it is used.

    Several URLs with semicolons between them are the nodes of one cluster.
    """

    durable = True
    urgent_first: First = "high"

    def __init__(self, url: str, settings: Settings, queues: QueueTable | None = None) -> None:
        self.queues = queues or QueueTable(settings)
        kind = settings.task_default_queue_type
        if kind not in ("quorum", "classic"):
            raise ImproperlyConfigured(f"setting 'task_default_queue_type' = {kind!r} must be 'quorum' or 'classic'")
        self._nodes = Nodes.of(url, settings.broker_failover_strategy)
        self._settings = settings

    def producer(self) -> AmqpProducer:
        """Return a side that sends."""
        return AmqpProducer(self._nodes, self._settings, self.queues)

    def admin(self) -> AmqpAdmin:
        """Return a side that looks and tidies."""
        from celeriac.brokers.amqp.admin import AmqpAdmin

        return AmqpAdmin(self._nodes, self._settings, self.queues)

    def consumer(self) -> AmqpConsumer:
        """Return a worker's side."""
        from celeriac.brokers.amqp.consumer import AmqpConsumer

        return AmqpConsumer(self._nodes, self._settings, self.queues)

    def messenger(self) -> AmqpMessenger:
        """Return a side that sends and receives letters."""
        from celeriac.brokers.amqp.messenger import AmqpMessenger

        return AmqpMessenger(self._nodes, self._settings)

    def shown_url(self) -> str:
        """Return the URL with the password masked."""
        return self._nodes.shown

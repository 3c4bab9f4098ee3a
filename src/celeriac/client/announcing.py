"""The signals around publishing a task's message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celeriac.client import signals
from celeriac.client.event_sent import tell_sent
from celeriac.exceptions import DecodeError
from celeriac.wire import serializers, task_v2

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.core.message import Message


def announce_publishing(app: Celeriac, message: Message) -> None:
    """Tell listeners that a message is about to be sent; what they change in its headers and properties is sent."""
    if signals.before_task_publish.receivers:
        message.headers = task_v2.with_all_headers(message.headers)
        signals.before_task_publish.send(
            message.task,
            body=_body_of(message),
            exchange=message.exchange,
            routing_key=_routing_key(message),
            headers=message.headers,
            properties=message.properties,
            declare=[app.amqp.table.find(message.queue)] if message.queue else [],
            retry_policy={},
        )


def announce_published(app: Celeriac, message: Message) -> None:
    """Tell listeners that the broker has a message, and monitors where the settings say so."""
    if app.settings.task_send_sent_event:
        tell_sent(app, message)
    if signals.after_task_publish.receivers:
        signals.after_task_publish.send(
            message.task,
            body=_body_of(message),
            exchange=message.exchange,
            routing_key=_routing_key(message),
            headers=task_v2.with_all_headers(message.headers),
        )


def _routing_key(message: Message) -> str:
    return message.routing_key or message.queue


def _body_of(message: Message) -> Any:
    """Return the body as listeners know it, `(args, kwargs, embed)`; one that can't be read here is given as it travels."""
    try:
        data, content_type, content_encoding = task_v2.unfolded(message, task_v2.UNFOLDED_MAX_BYTES)
        return tuple(serializers.loads(data, content_type, content_encoding, (content_type,)))
    except (DecodeError, TypeError):
        return message.body

"""Where letters go: the exchanges and mailboxes of events, of requests to workers, and of their replies, named as Celery names them."""

from __future__ import annotations

from celeriac.core.mailbox import Address, Mailbox
from celeriac.core.settings import Settings


def control_address(settings: Settings) -> Address:
    """Return where requests to workers go: to all of them; each looks whether it is meant."""
    return Address(f"{settings.control_exchange}.pidbox", "fanout")


def control_mailbox(settings: Settings, node: str) -> Mailbox:
    """Return where a worker receives requests."""
    address = control_address(settings)
    return Mailbox(
        address,
        f"{node}.{address.exchange}",
        ttl_s=settings.control_queue_ttl or None,
        expires_s=settings.control_queue_expires,
        exclusive=settings.control_queue_exclusive,
        durable=settings.control_queue_durable,
    )


def reply_address(settings: Settings) -> Address:
    """Return where replies of this program's workers go; the key tells to whom."""
    return Address(f"reply.{settings.control_exchange}.pidbox", "direct")


def reply_mailbox(settings: Settings, oid: str) -> Mailbox:
    """Return where a client receives replies; `oid` is its own id."""
    address = reply_address(settings)
    return Mailbox(
        address,
        f"{oid}.{address.exchange}",
        oid,
        expires_s=settings.control_queue_expires,
        exclusive=settings.control_queue_exclusive,
        durable=settings.control_queue_durable,
    )


def event_address(settings: Settings) -> Address:
    """Return where events go; the key tells their type."""
    return Address(settings.event_exchange, "topic", durable=True)


def event_mailbox(settings: Settings, node_id: str, routing_key: str = "#", prefix: str | None = None) -> Mailbox:
    """Return where a monitor receives those events whose key matches; `node_id` is its own id."""
    return Mailbox(
        event_address(settings),
        f"{settings.event_queue_prefix if prefix is None else prefix}.{node_id}",
        routing_key,
        ttl_s=settings.event_queue_ttl or None,
        expires_s=settings.event_queue_expires,
        exclusive=settings.event_queue_exclusive,
        durable=settings.event_queue_durable,
    )

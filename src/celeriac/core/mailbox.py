"""Mailboxes: where a process receives what is sent to whoever listens now: events, requests to workers, and their replies."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Address(Struct, frozen=True):
    """An exchange of letters, which are kept for nobody."""

    exchange: str
    kind: Literal["fanout", "topic", "direct"]
    """`fanout` and `topic`: whoever listens; `direct`: the one mailbox that has the routing key."""
    durable: bool = False


class Mailbox(Struct, frozen=True):
    """A queue of one process's own, gone soon after it."""

    address: Address
    queue: str
    routing_key: str = ""
    """Its key, for a topic the pattern of keys, with `*` and `#`."""
    ttl_s: float | None = None
    """How long an unread letter is kept."""
    expires_s: float | None = None
    """How long the mailbox outlives its process."""
    exclusive: bool = True
    durable: bool = False

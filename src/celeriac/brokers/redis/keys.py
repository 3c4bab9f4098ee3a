"""The names of all Redis keys: Celery's own, and ours, which begin with `celeriac:`; both after the global prefix."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping
from typing import Any, Final

from celeriac.exceptions import ImproperlyConfigured
from celeriac.transports.redis.boards import board_key
from celeriac.transports.redis.options import text_option

DEFAULT_STEPS: Final = (0, 3, 6, 9)
DEFAULT_SEPARATOR: Final = "\x06\x16"
_MOST_URGENT: Final = 0
_LEAST_URGENT: Final = 9


class Keys:
    """The broker's keys under one set of transport options."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Read `global_keyprefix`, `sep` and `priority_steps`. Raises `ImproperlyConfigured`."""
        self.prefix = text_option(options, "global_keyprefix", "")
        self.separator = text_option(options, "sep", DEFAULT_SEPARATOR)
        steps = options.get("priority_steps", DEFAULT_STEPS)
        if not isinstance(steps, list | tuple) or not steps or not all(type(step) is int for step in steps):
            raise ImproperlyConfigured(f"broker_transport_options['priority_steps'] = {steps!r}: a list of numbers 0-9")
        self.steps = tuple(sorted(steps))
        own = f"{self.prefix}celeriac:"
        self.queues = f"{own}queues"
        self.workers = f"{own}workers"
        self.exchanges = f"{own}exchanges"
        self.fanouts = f"{own}fanouts"
        self.mailboxes = f"{own}mailboxes"
        self.binding_deadlines = f"{self.prefix}_kombu.binding_deadlines"
        self.revoked = f"{own}revoked"
        self.revoked_news = f"{own}revoked-news"
        self.revoked_ends = f"{own}revoked-ends"
        self._own = own
        self._fanout_prefix = options.get("fanout_prefix", True)
        self._fanout_patterns = bool(options.get("fanout_patterns", True))

    def fanout(self, exchange: str) -> str:
        """Hash: queues behind a fanout exchange, each with the lease that it goes with."""
        return f"{self._own}fanout:{exchange}"

    def channel(self, db: int, exchange: str, routing_key: str) -> str:
        """Channel on which Celery's workers hear a fanout exchange."""
        head = f"/{db}." if self._fanout_prefix is True else self._fanout_prefix or ""
        tail = f"/{routing_key}" if routing_key and self._fanout_patterns else ""
        return f"{self.prefix}{head}{exchange}{tail}"

    def board(self, name: str) -> str:
        """Hash: what stands on a board."""
        return board_key(self.prefix, name)

    def claims(self, lease: str) -> str:
        """Hash: what was claimed under one lease."""
        return f"{self._own}claims:{lease}"

    def delayed(self, queue: str) -> str:
        """Sorted set: messages that wait for their time."""
        return f"{self._own}delayed:{queue}"

    def dead(self, queue: str) -> str:
        """Hash: parked messages."""
        return f"{self._own}dead:{queue}"

    def dead_times(self, queue: str) -> str:
        """Sorted set: when each message was parked."""
        return f"{self._own}dead-times:{queue}"

    def list_for(self, queue: str, priority: int) -> str:
        """Return the list for messages of a priority: that of the highest step not above it, as Celery chooses it."""
        step = self.steps[bisect(self.steps, min(max(priority, _MOST_URGENT), _LEAST_URGENT)) - 1]
        return self._list_of_step(queue, step)

    def lists(self, queue: str) -> list[str]:
        """Return the lists of a queue, the most urgent first."""
        return [self._list_of_step(queue, step) for step in self.steps]

    def queue_of(self, list_key: str) -> str:
        """Return the queue to which a list belongs."""
        name = list_key[len(self.prefix) :]
        queue, found, step = name.rpartition(self.separator)
        return queue if found and step.isdecimal() else name

    def bindings(self, queue: str) -> list[tuple[str, str]]:
        """Return the sets, each with the member, by which Celery's senders find a queue of an exchange of its own name."""
        member = self.binding_member(queue, queue)
        return [(f"{self.prefix}_kombu.{table}.{queue}", member) for table in ("binding", "binding_permanent")]

    def binding_table(self, exchange: str) -> str:
        """Return the set in which Celery keeps the queues bound to an exchange."""
        return f"{self.prefix}_kombu.binding.{exchange}"

    def binding_member(self, routing_key: str, queue: str) -> str:
        """Return what stands in that set for a queue of a direct exchange."""
        return self.separator.join((routing_key, "", queue))

    def permanent_binding_table(self, exchange: str) -> str:
        """Return the set in which Celery keeps those of them that no sweep takes away."""
        return f"{self.prefix}_kombu.binding_permanent.{exchange}"

    def _list_of_step(self, queue: str, step: int) -> str:
        return f"{self.prefix}{queue}{self.separator}{step}" if step else f"{self.prefix}{queue}"

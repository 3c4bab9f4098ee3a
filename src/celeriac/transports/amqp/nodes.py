"""The nodes of one RabbitMQ cluster, and which of them is tried next."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeVar

from celeriac.core.url_parts import nodes as split
from celeriac.exceptions import BrokerUnavailable
from celeriac.transports.amqp.address import Address, parse

C = TypeVar("C")

Strategy = Literal["round-robin", "shuffle"]


class Nodes:
    """Addresses that lead to the same broker.

    Each connection remembers by `at` to which it goes.  Whoever finds a node of no use says so by `passed_over`, and the next connection
    begins with another.  Thread-safe; a forked child goes on with what its parent knew.
    """

    def __init__(self, addresses: Sequence[Address], strategy: Strategy | None = None) -> None:
        self._addresses = list(addresses)
        if strategy == "shuffle":
            random.shuffle(self._addresses)
        self._first = 0
        self._lock = threading.Lock()
        self.shown = ";".join(address.shown for address in addresses)
        """The URLs without passwords."""

    @classmethod
    def of(cls, url: str, strategy: Strategy | None = None) -> Nodes:
        """Read one URL, or several with semicolons between them; errors as of `parse`."""
        return cls([parse(one) for one in split(url)], strategy)

    def __len__(self) -> int:
        return len(self._addresses)

    @property
    def first(self) -> Address:
        """The address that is tried first."""
        return self._addresses[self._first]

    def in_turn(self) -> list[Address]:
        """Return all addresses in the order in which they are to be tried."""
        first = self._first
        return self._addresses[first:] + self._addresses[:first]

    def passed_over(self, address: Address) -> None:
        """Let the next connection begin with another node than this."""
        with self._lock:
            if self._addresses[self._first] is address:
                self._first = (self._first + 1) % len(self._addresses)

    # -- connecting ---------------------------------------------------------------------------------------------------

    def connect(self, open_one: Callable[[Address, float], C], deadline: float, attempt_s: float) -> C:
        """Return what `open_one(address, deadline)` makes of the first node that lets it.

        Up to `attempt_s` seconds for each, and all by `deadline` (of `time.monotonic()`).  Raises `BrokerUnavailable` of the last one tried;
        what else a node answers, a refused login, is raised at once.
        """
        turn = self.in_turn()
        for number, address in enumerate(turn):
            try:
                return open_one(address, _attempt(deadline, attempt_s, len(turn) - number))
            except BrokerUnavailable:
                self.passed_over(address)
                if number + 1 == len(turn) or time.monotonic() >= deadline:
                    raise
        raise AssertionError("there is at least one address")

    async def aconnect(self, open_one: Callable[[Address], Awaitable[C]]) -> C:
        """As `connect`, where each attempt has a deadline of its own."""
        turn = self.in_turn()
        for number, address in enumerate(turn):
            try:
                return await open_one(address)
            except BrokerUnavailable:
                self.passed_over(address)
                if number + 1 == len(turn):
                    raise
        raise AssertionError("there is at least one address")


def _attempt(deadline: float, attempt_s: float, nodes_left: int) -> float:
    """Return until when to try one node, so that every other has its turn before the deadline."""
    now = time.monotonic()
    return now + min(attempt_s, max(0.0, deadline - now) / nodes_left)

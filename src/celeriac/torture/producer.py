"""A producer as a process of its own: reads orders, one JSON text a line, and writes into the journal what became of each send.

    python -m celeriac.torture.producer celeriac.torture.systems.celeriac_program

The module named is a system's program, with a function `send(key, order)` that raises when the send is refused.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from celeriac.torture.journal import record
from celeriac.torture.orders import ACCEPTED, JOURNAL_VARIABLE, REFUSED, Order

READY, DONE = "ready", "done"
"""What it says on standard output: once, and after each order."""


def produce(send: Callable[[str, Order], object], order: Order, journal: str) -> None:
    """Carry out an order."""

    def one(key: str) -> None:
        began = time.monotonic()
        try:
            send(key, order)
        except Exception as error:
            record(journal, REFUSED, key, took_s=time.monotonic() - began, error=type(error).__name__)
        else:
            record(journal, ACCEPTED, key, took_s=time.monotonic() - began)
        if order.pause_s:
            time.sleep(order.pause_s)

    if order.threads == 1:
        for key in order.keys:
            one(key)
    else:
        with ThreadPoolExecutor(order.threads) as pool:
            list(pool.map(one, order.keys))


def main(program: str) -> None:
    """Serve until standard input ends."""
    send = importlib.import_module(program).send
    decoder = msgspec.json.Decoder(Order)
    _say(READY)
    for line in sys.stdin:
        produce(send, decoder.decode(line), os.environ[JOURNAL_VARIABLE])
        _say(DONE)


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])

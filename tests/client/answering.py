"""Workers that answer requests as a test wants it: real letters over a real broker, no worker behind them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from celeriac import Celeriac
from celeriac.core.addresses import control_mailbox
from celeriac.core.message import Message
from celeriac.wire.control import Reply, Request, decode_request, encode_reply

Answer = Callable[[Request], Any]
SILENCE = object()


class Fleet:
    """Nodes that hear requests; those that are meant answer, in the order of their names."""

    def __init__(self, app: Celeriac, nodes: tuple[str, ...], answer: Answer) -> None:
        self.letters: list[Message] = []
        self.requests: list[Request] = []
        self._app = app
        self._nodes = nodes
        self._answer = answer
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        self._task = self._loop.create_task(self._serve())
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        settings, messenger = self._app.settings, self._app.broker.messenger()
        await messenger.open([control_mailbox(settings, "fleet@test")])
        self._ready.set()
        try:
            while True:
                for letter in await messenger.receive():
                    request = decode_request(letter, settings.control_max_bytes)
                    self.letters.append(letter)
                    self.requests.append(request)
                    for node in self._nodes:
                        if request.destination is not None and node not in request.destination:
                            continue
                        payload = self._answer(request)
                        if request.reply_to is None or payload is SILENCE:
                            continue
                        reply = encode_reply(
                            Reply(node, payload, request.ticket, request.clock + 5),
                            request.reply_to,
                            settings.control_max_bytes,
                        )
                        await messenger.send(request.reply_to.address, [reply])
        finally:
            await messenger.close()


@contextmanager
def fleet(app: Celeriac, *nodes: str, answer: Answer = lambda request: {"ok": "pong"}) -> Iterator[Fleet]:
    """Have nodes for the time of a `with` block."""
    made = Fleet(app, nodes, answer)
    made._thread.start()
    assert made._ready.wait(20)
    try:
        yield made
    finally:
        made._loop.call_soon_threadsafe(made._task.cancel)
        made._thread.join(20)

"""The event loop beside a program: who waits for it gets an answer, also when the app is closed meanwhile."""

from __future__ import annotations

import asyncio
import threading

import pytest

from celeriac.client.background import BackgroundLoop
from celeriac.exceptions import BrokerUnavailable


def test_who_waits_hears_that_the_app_was_closed() -> None:
    loop = BackgroundLoop("beside")
    begun = threading.Event()
    heard: list[BaseException] = []

    async def never_ends() -> None:
        begun.set()
        await asyncio.Event().wait()

    def wait() -> None:
        try:
            loop.run(never_ends)
        except BrokerUnavailable as error:
            heard.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    assert begun.wait(20)
    loop.close(20)
    thread.join(20)
    assert [str(error) for error in heard] == ["the app was closed"]
    # Nothing is begun that nobody would end: a coroutine that is never awaited is a warning.
    with pytest.raises(BrokerUnavailable, match="the app was closed"):
        loop.run(never_ends)

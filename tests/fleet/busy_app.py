"""Our side, with tasks that keep each kind of executor busy."""

from __future__ import annotations

import os

from celeriac.torture import journal
from tests.interop.celeriac_app import app
from tests.interop.functions import JOURNAL_VARIABLE, hold

app.task(name="shop.hold_thread", executor="thread")(hold)


@app.task(name="shop.hold_loop")
async def hold_loop(key: str, until: str) -> str:
    """Hold a whole event loop, as a coroutine that has forgotten to wait."""
    return hold(key, until)


@app.task(name="shop.burn")
def burn(key: str, until: str) -> str:
    """Hold, and take all there is of a processor."""
    journal.record(os.environ[JOURNAL_VARIABLE], journal.START, key)
    while not os.path.exists(until):
        pass
    return key

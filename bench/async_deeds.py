"""The same tasks as coroutines, for libraries that are made for these."""

from __future__ import annotations

import asyncio
import time

from bench.deeds import record


async def noop(sent_at: float) -> None:
    """Do nothing but say so."""
    record(sent_at)


async def answer(number: int) -> int:
    """Have a result."""
    return number


async def io(seconds: float) -> None:
    """Wait for something, as a coroutine; puts down its beginning and its end."""
    began = time.monotonic()
    await asyncio.sleep(seconds)
    record(began)


async def carry(sent_at: float, _payload: str) -> None:
    """Have a large argument."""
    record(sent_at)

"""A program that only sends imports nothing that is for others: each of these costs milliseconds and megabytes."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("asyncio", "ssl", "hashlib", "logging.handlers", "zoneinfo", "importlib.resources", "concurrent.futures")

SEND = """
import sys
from celeriac import Celeriac
app = Celeriac("shop", broker={url!r}, backend={url!r})

@app.task
def add(x): ...

add.delay(1)
assert len(add.delay_many([(1,), (2,)])) == 2
print(*(name for name in {heavy!r} if name in sys.modules))
"""


@pytest.mark.parametrize(
    "what", ["from celeriac import Celeriac, shared_task, chain, group", "from celeriac.canvas import chord"]
)
def test_importing(what: str) -> None:
    code = f"import sys\n{what}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    assert _printed(code) == ""


def test_sending_to_redis(redis_url: str) -> None:
    assert _printed(SEND.format(url=redis_url, heavy=HEAVY)) == ""


def _printed(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()

"""What the tasks of every task queue under torture do, and where its broker is: so that all are told the same."""

from __future__ import annotations

import os
import signal
import time
from typing import Final

from celeriac.torture.journal import END, START, record
from celeriac.torture.orders import BACKEND_VARIABLE, BROKER_VARIABLE, JOURNAL_VARIABLE

BROKER_URL: Final = os.environ.get(BROKER_VARIABLE, "")
BACKEND_URL: Final = os.environ.get(BACKEND_VARIABLE, "")
ON_REDIS: Final = BROKER_URL.startswith("redis")

_JOURNAL = os.environ.get(JOURNAL_VARIABLE, os.devnull)


def work(key: str, seconds: float) -> str:
    """Work for some time."""
    record(_JOURNAL, START, key)
    time.sleep(seconds)
    record(_JOURNAL, END, key)
    return key


def poison(key: str, seconds: float, how: str = "kill") -> None:
    """Kill the process that runs it, each time."""
    record(_JOURNAL, START, key)
    time.sleep(seconds)
    if how == "exit":
        os._exit(1)
    os.kill(os.getpid(), signal.SIGKILL)

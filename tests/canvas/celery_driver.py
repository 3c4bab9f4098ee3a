"""A program of a Celery user: it sends the canvases whose seeds are its arguments, waits, and tells how each has ended.

Writes one JSON object a line to its standard output.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Any

import celery
import redis
from celery.exceptions import TimeoutError as CeleryTimeoutError

from tests.canvas.building import Builder
from tests.canvas.celery_app import app
from tests.canvas.random_canvas import random_canvas

QUIET_S = 1.5
"""With nothing to do for so long, what has not ended never will: nothing here waits longer for a retry."""
DEADLINE_S = 60.0
LOOK_S = 0.3
STUCK_S = 2.0


def main(seeds: Sequence[int]) -> None:
    """Send all, wait until the worker has nothing to do any more, and tell."""
    app.set_current()
    signal.signal(signal.SIGALRM, give_up)
    results: dict[int, Any] = {}
    for seed in seeds:
        try:
            results[seed] = Builder(app, celery).send(random_canvas(seed, of_celery=True))
        except Exception as error:
            tell(seed, refused=repr(error), traceback=traceback.format_exc())
    wait_until_quiet()
    for seed, result in results.items():
        tell(seed, **end_of(result))


def end_of(result: Any) -> dict[str, Any]:
    # Celery's own timeout does not hold in each of its ways to wait.
    signal.setitimer(signal.ITIMER_REAL, STUCK_S)
    try:
        return {"value": result.get(timeout=LOOK_S)}
    except (CeleryTimeoutError, Stuck):
        return {"hangs": True}
    except Exception as error:
        return {"error": repr(error)}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


class Stuck(BaseException):
    """Nobody in between takes this for an error of his own."""


def give_up(_number: int, _frame: object) -> None:
    raise Stuck


def wait_until_quiet() -> None:
    client = redis.Redis.from_url(app.conf.broker_url)
    queue = app.conf.task_default_queue
    quiet_since = start = time.monotonic()
    while time.monotonic() - quiet_since < QUIET_S and time.monotonic() - start < DEADLINE_S:
        if client.llen(queue) or client.hlen("unacked"):
            quiet_since = time.monotonic()
        time.sleep(0.05)


def tell(seed: int, **what: Any) -> None:
    print(json.dumps({"seed": seed, **what}), flush=True)


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]])
    sys.stdout.flush()
    os._exit(0)  # else each of Celery's results complains, as it goes, of what is gone already

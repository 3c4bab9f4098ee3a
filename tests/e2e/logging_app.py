"""The program whose tasks the tests of logging run: they log and print in every way."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from typing import Any

from celeriac import Celeriac, Task, signals
from celeriac.utils.log import get_task_logger
from tests.e2e.app import SETTINGS_VARIABLE

app = Celeriac("logging", **json.loads(os.environ.get(SETTINGS_VARIABLE, "{}")))
logger = get_task_logger(__name__)
library = logging.getLogger("third.party")

match os.environ.get("E2E_LOGGING"):
    case "own root":
        logging.basicConfig(format="OWN %(name)s %(task_name)s[%(task_id)s] %(message)s")
    case "setup_logging":

        @signals.setup_logging.connect
        def set_up(loglevel: int, logfile: str | None, format: str, colorize: bool, **_: Any) -> None:
            logging.basicConfig(level=loglevel, format="SIGNAL %(name)s %(message)s")
            logging.getLogger("own").info("set up with %s %s %s", loglevel, logfile, colorize)
    case "after_setup":

        def prefix(handler: logging.Handler, word: str) -> None:
            handler.setFormatter(logging.Formatter(f"{word} %(message)s"))

        @signals.after_setup_logger.connect
        def after(logger: logging.Logger, loglevel: int, format: str, **_: Any) -> None:
            prefix(logger.handlers[0], "AFTER")

        @signals.after_setup_task_logger.connect
        def after_task(logger: logging.Logger, **_: Any) -> None:
            prefix(logger.handlers[0], "AFTER-TASK")


class Raises(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("this handler is broken")


def log_all(word: str) -> None:
    logger.info("from the task: %s", word)
    library.warning("from a library: %s", word)
    logging.getLogger().error("from the root: %s", word)
    print("printed", word, end=" ")
    print("twice")
    sys.stderr.write(f"to stderr: {word}\n")


@app.task
def logs(word: str) -> str:
    log_all(word)
    os.write(1, f"from C: {word}\n".encode())
    print("half a line:", word, end="")
    return word


@app.task(executor="thread")
def logs_in_thread(word: str) -> str:
    log_all(word)
    return word


@app.task
async def logs_async(word: str) -> str:
    for _ in range(3):
        log_all(word)
        print("half", end="")
        await asyncio.sleep(0)
        print(" and half:", word)
    return word


@app.task
def fails(word: str) -> None:
    raise ValueError(word)


@app.task(throws=(KeyError,))
def throws(word: str) -> None:
    raise KeyError(word)


@app.task(bind=True, max_retries=1)
def retries(self: Task[Any, Any], word: str) -> str:
    if self.request.retries:
        logger.info("second run", extra={"order": 7, "task_id": self.request.id})
        return word
    raise self.retry(exc=ValueError(word), countdown=0.01)


@app.task
def breaks_logging() -> str:
    for name in ("celeriac.app.trace", "celeriac.redirected"):
        logging.getLogger(name).addHandler(Raises())
    print("to nobody")
    logger.info("cannot be written: %d", "text")
    return "unharmed"

"""A process that kills itself at its n-th SQL statement, as the kernel would: a worker, or a producer.

python -m tests.model.doomed worker sqlite:///file.db queue runs-file 17
"""

from __future__ import annotations

import functools
import os
import signal
import sqlite3
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

from celeriac.worker.worker import EmbeddedWorker
from tests.model.chores import Runs, make_app

READY, DONE = "ready", "done"
SENDS: Final = 4
SETTINGS: Final = {"worker_lease_s": 10.0, "worker_heartbeat_s": 0.5}


class RunsInFile(Runs):
    """Counts runs over all processes that name the same file."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file
        self._file.touch()

    def note(self, task: Any) -> int:
        """Note that a task has begun."""
        with self._file.open("a") as file:
            file.write(f"{task.request.id}\n")
        return self.counted()[str(task.request.id)]

    def counted(self) -> Counter[str]:
        """Return how often each task has begun."""
        return Counter(self._file.read_text().splitlines())


def die_at(number: int) -> None:
    """Have this process killed as it begins its statement of this number, over all its connections from now on."""
    left = number

    def count(_statement: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    class Counted(sqlite3.Connection):
        """One whose statements are counted, those of triggers among them."""

        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            self.set_trace_callback(count)

    sqlite3.connect = functools.partial(sqlite3.connect, factory=Counted)  # type: ignore[assignment]


def say(word: str) -> None:
    """Tell whoever started this process."""
    print(word, flush=True)


def main(part: str, url: str, queue: str, runs: str, number: str) -> None:
    """Work until standard input ends, or send some tasks and say the id of each that was accepted."""
    app = make_app(url, url, queue, RunsInFile(Path(runs)))
    app.conf.update(SETTINGS)
    die_at(int(number))
    if part == "worker":
        with EmbeddedWorker(app, concurrency=3):
            say(READY)
            sys.stdin.read()
    else:
        for count in range(SENDS):
            say(app.tasks["add"].apply_async((count, 1), countdown=0.05 if count % 2 else None).id)
    app.close()
    say(DONE)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The demo from beginning to end."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from celeriac.client.locations import BACKEND_VARIABLES, BROKER_VARIABLES
from celeriac.client.result import AsyncResult
from celeriac.core.message import QueueDepth
from celeriac.demo.app import FILES, PAGES, app, fetch, measure
from celeriac.demo.process import WorkerProcess
from celeriac.demo.progress import Job, Tally
from celeriac.demo.report import Facts, find_crashes, print_report, problems
from celeriac.demo.screen import Screen, Standing, make_console
from celeriac.demo.sources import every_nth, how_many_fit, library_files
from celeriac.demo.website import Website, website

MEASURING_S: Final = 24.0
"""How long all processes together may measure files, by the estimate; the rest of the minute is reserve."""
DEADLINE_S: Final = 50.0
"""So long after its start the demo gives up waiting for results."""
KILL_AT: Final = 1 / 3
"""Share of files after which an executor is killed."""
KILLS_MAX: Final = 3
CRASH_SEEN_S: Final = 1.0
"""By then the worker has noticed that an executor was killed."""
LOOK_S: Final = 0.1
PROCESSES_MAX: Final = 4
INTERRUPTED: Final = 130


class Plan(Struct, frozen=True):
    """How much is to be done."""

    max_files: int | None = None
    """None: all, as far as they fit."""
    pages: int = 200
    seed: int = 1


def run_demo(plan: Plan) -> int:
    """Run the demo and return the exit code of the program: 0 when the check passed. Blocking; leaves nothing behind."""
    try:
        with stop_signals_interrupt(), tempfile.TemporaryDirectory(prefix="celeriac-demo-") as folder:
            with demo_environment(Path(folder)), website(plan.seed) as site:
                return Demo(plan, Path(folder), site).run()
    except KeyboardInterrupt:
        make_console().print("interrupted: the worker is stopped, nothing is left behind", highlight=False)
        return INTERRUPTED


class Demo:
    """Duties: 1. choose how much fits; 2. start the worker and send the calls; 3. kill an executor while it works; 4. wait for
    the results; 5. check and report.
    """

    def __init__(self, plan: Plan, folder: Path, site: Website) -> None:
        self._plan = plan
        self._folder = folder
        self._site = site
        self._console = make_console()
        self._processes = max(2, min(os.cpu_count() or 1, PROCESSES_MAX))
        self._found = library_files()
        self._killed_pids: list[int] = []
        self._killed_at = 0.0
        self._crash_seen = False
        self._deadline = time.monotonic() + DEADLINE_S

    def run(self) -> int:
        """Do it all and return the exit code."""
        files = self._choose()
        with Screen(self._console) as screen:
            screen.say(f"broker    {app.broker.shown_url()}  (embedded, no server)")
            worker = WorkerProcess([FILES, PAGES], self._processes, self._folder / "worker.log")
            try:
                worker.wait_ready()
                screen.say(
                    f"worker    pid {worker.pid}: {self._processes} processes for files, 50 coroutines for pages"
                )
                begun = time.monotonic()
                jobs = asyncio.run(send(files, [self._site.url(page) for page in range(self._plan.pages)]))
                screen.say(
                    f"sent      {len(files)} files and {self._plan.pages} pages in {time.monotonic() - begun:.1f} s"
                )
                reader = app.backend.reader()
                tally = Tally(reader, jobs)
                try:
                    self._wait(screen, worker, tally)
                finally:
                    reader.close()
                seconds = time.monotonic() - begun
            finally:
                worker.stop()
                depths = self._depths()
                app.close()
        crashes = find_crashes(worker.messages())
        facts = Facts(
            files, len(self._found), self._plan.pages, seconds, self._killed_pids, crashes, self._site.failed, depths
        )
        wrong = list(problems(facts, tally))
        print_report(self._console, facts, tally, wrong)
        if wrong:
            self._console.print(f"\nthe worker's last words:\n{worker.last_words()}", markup=False, soft_wrap=True)
        return 1 if wrong else 0

    def _choose(self) -> list[str]:
        """Return the files to measure: all of them, if this machine is quick enough, else evenly chosen ones."""
        found = len(self._found)
        count = found if self._plan.max_files is None else min(found, self._plan.max_files)
        fitting = how_many_fit(self._found, MEASURING_S, min(self._processes, os.cpu_count() or 1))
        files = every_nth(self._found, min(count, fitting))
        if fitting < count:
            self._console.print(f"this machine is slow: {len(files)} of {found} files are taken", highlight=False)
        return files

    def _wait(self, screen: Screen, worker: WorkerProcess, tally: Tally) -> None:
        """Follow the results until all are there or the time is over, and do the harm on the way."""
        files = sum(job.is_file for job in tally.jobs)
        now = Standing(files, len(tally.jobs) - files)
        while True:
            tally.look()
            now.files_done, now.pages_done = tally.count(files=True), tally.count(files=False)
            now.refused = self._site.failed
            screen.show(now)
            if tally.complete or not worker.running or time.monotonic() > self._deadline:
                return
            if now.files_done >= files * KILL_AT:
                self._harm(screen, worker)
            time.sleep(LOOK_S)

    def _harm(self, screen: Screen, worker: WorkerProcess) -> None:
        """Kill an executor, and another one if that one was just between two tasks: a crash is to be seen."""
        enough = self._crash_seen or len(self._killed_pids) == KILLS_MAX
        if enough or time.monotonic() < self._killed_at + CRASH_SEEN_S:
            return
        self._crash_seen = bool(find_crashes(worker.messages()))
        if self._crash_seen:
            return
        pid = worker.kill_busy_executor()
        if pid is not None:
            self._killed_pids.append(pid)
            self._killed_at = time.monotonic()
            screen.say(f"kill -9   executor {pid}, in the middle of its work")

    def _depths(self) -> list[QueueDepth]:
        admin = app.broker.admin()
        try:
            return admin.depths([FILES, PAGES])
        finally:
            admin.close()


async def send(files: Sequence[str], pages: Sequence[str]) -> list[Job]:
    """Send a call for each file and each page; calls that are made at once share round trips to the broker."""
    results: list[AsyncResult[Any]] = await asyncio.gather(
        *(measure.adelay(path) for path in files), *(fetch.adelay(url) for url in pages)
    )
    subjects = [*((path, True) for path in files), *((url, False) for url in pages)]
    return [Job(result.id, *subject) for result, subject in zip(results, subjects, strict=True)]


@contextmanager
def demo_environment(folder: Path) -> Iterator[None]:
    """Have this process and the worker use the embedded broker in `folder`, whatever the environment says otherwise."""
    url = f"sqlite:///{folder / 'broker.db'}"
    ours = {BROKER_VARIABLES[0]: url, BACKEND_VARIABLES[0]: url}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    app.close()  # should somebody have used it in this process before
    try:
        yield
    finally:
        app.close()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def stop_signals_interrupt() -> Iterator[None]:
    """Have SIGTERM and SIGHUP end the demo as Ctrl-C does, so that it cleans up; possible in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(signum, signal.default_int_handler) for signum in signals]
    try:
        yield
    finally:
        for signum, handler in zip(signals, before, strict=True):
            signal.signal(signum, handler)

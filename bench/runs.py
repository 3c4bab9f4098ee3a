"""One run: a system on a broker of its own, with its worker, its client and its records; all of it gone afterwards."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import psutil

from bench.recording import DIRECTORY_VARIABLE, Records
from celeriac.torture.servers.service import Reaper, wait_until
from tests.program import Program
from tests.services import PrivateRabbit, PrivateRedis, find_rabbit, find_redis

if TYPE_CHECKING:
    from bench.systems.base import Client, System

SETTINGS_VARIABLE: Final = "BENCH_SETTINGS"
DEADLINE_S: Final = 300.0
WARM_UP: Final = 50
"""Tasks that a worker runs before anything is measured that is not its start."""


class Servers:
    """The private brokers, each started when the first system wants it. Use it as a context manager."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._redis: PrivateRedis | None = None
        self._rabbit: PrivateRabbit | None = None

    @staticmethod
    def missing(broker: str) -> bool:
        """Whether the program of this broker is not to be found here."""
        return {"redis": find_redis, "rabbitmq": find_rabbit}.get(broker, lambda: True)() is None

    def place(self, broker: str, directory: Path) -> tuple[str, str]:
        """Return the URLs of an empty broker and of its result backend."""
        match broker:
            case "redis":
                self._redis = self._redis or self._stack.enter_context(PrivateRedis())
                return (url := self._redis.fresh_url()), url
            case "rabbitmq":
                self._rabbit = self._rabbit or self._stack.enter_context(PrivateRabbit())
                return self._rabbit.fresh_url(), "rpc://"
            case _:
                return (url := f"sqlite:///{directory}/broker.db"), url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._stack.close()


class Run:
    """Duties: 1. give the system an empty place; 2. start and stop its worker; 3. leave nothing running, and no file."""

    def __init__(self, system: System, servers: Servers) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="celeriac-bench-"))
        self._reaper = Reaper(self._directory)
        self._system = system
        self._worker: Program | None = None
        records = self._directory / "records"
        records.mkdir()
        self.records = Records(records)
        self._urls = servers.place(system.broker, self._directory)
        self.client: Client = system.client(*self._urls)

    def start_worker(self) -> None:
        """Start the worker; it begins whenever it is ready."""
        broker_url, backend_url = self._urls
        environment = {
            **{f"{library}_BROKER_URL": broker_url for library in ("CELERY", "CELERIAC")},
            **{f"{library}_RESULT_BACKEND": backend_url for library in ("CELERY", "CELERIAC")},
            SETTINGS_VARIABLE: json.dumps(dict(self._system.settings)),
            DIRECTORY_VARIABLE: str(self._directory / "records"),
        }
        self._worker = Program("worker", self._system.worker_module(), environment, self._directory)
        self._reaper.watch([self._worker.process])

    def warm_up(self) -> None:
        """Start the worker and return when it has done some tasks."""
        self.start_worker()
        self.client.send_one_by_one(WARM_UP)
        self.until_done(WARM_UP)

    def until_done(self, count: int) -> None:
        """Wait until so many tasks have run; AssertionError with the worker's log if that takes for ever."""
        assert self._worker is not None
        worker = self._worker

        def done() -> bool:
            worker.check_alive()
            return self.records.count() >= count

        wait_until(done, f"{self._system.name} has run {count} tasks", deadline_s=DEADLINE_S, every_s=0.005)

    def worker_cpu_s(self) -> float:
        """Seconds of CPU that the worker's processes have used so far."""
        assert self._worker is not None
        core = psutil.Process(self._worker.process.pid)
        used_s = 0.0
        for process in (core, *core.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                used_s += times.user + times.system
        return used_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        try:
            self.client.close()
            if self._worker is not None:
                self._worker.stop()
        finally:
            if self._worker is not None:
                self._worker.kill()
            self._reaper.close()

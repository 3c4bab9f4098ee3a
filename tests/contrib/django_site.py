"""The Django project for tests: its databases, its workers, and what its tasks have written down."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from celeriac.torture.servers.service import wait_until
from tests.e2e.harness import DEADLINE_S, Guard

PROJECT = Path(__file__).parent / "django_project"
SETTINGS_MODULE = "django_shop.settings"
POSTGRES: dict[str, Any] = {"HOST": "127.0.0.1", "PORT": 5432, "USER": "postgres", "NAME": "test"}
MARIADB: dict[str, Any] = {"HOST": "127.0.0.1", "PORT": 3306, "USER": "root"}

Databases = dict[str, dict[str, Any]]


@contextlib.contextmanager
def databases() -> Iterator[Databases]:
    """Django's DATABASES: two SQLite files, and a schema of our own on each server that answers; all gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="celeriac-django-"))
    sqlite = "django.db.backends.sqlite3"
    made: Databases = {
        "default": {"ENGINE": sqlite, "NAME": str(directory / "default.sqlite"), "OPTIONS": {"timeout": 30}},
        "second": {"ENGINE": sqlite, "NAME": str(directory / "second.sqlite"), "OPTIONS": {"timeout": 30}},
    }
    own_name = f"celeriac_django_{os.getpid()}"
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        if stack.enter_context(postgres_schema(own_name)):
            made["postgres"] = {
                "ENGINE": "django.db.backends.postgresql",
                **POSTGRES,
                "OPTIONS": {"options": f"-c search_path={own_name}"},
            }
        if stack.enter_context(mariadb_database(own_name)):
            made["mariadb"] = {"ENGINE": "django.db.backends.mysql", **MARIADB, "NAME": own_name}
        yield made


@contextlib.contextmanager
def postgres_schema(name: str) -> Iterator[bool]:
    """A schema of this name; False where no server answers."""
    import psycopg

    try:
        server = psycopg.connect(
            host=POSTGRES["HOST"], port=POSTGRES["PORT"], user="postgres", dbname="test", connect_timeout=3
        )
    except psycopg.OperationalError:
        yield False
        return
    with server:
        server.autocommit = True
        server.execute(f"CREATE SCHEMA {name}")
        try:
            yield True
        finally:
            server.execute(f"DROP SCHEMA {name} CASCADE")


@contextlib.contextmanager
def mariadb_database(name: str) -> Iterator[bool]:
    """A database of this name; False where no server answers."""
    import pymysql

    try:
        server = pymysql.connect(host="127.0.0.1", port=3306, user="root", connect_timeout=3)
    except pymysql.err.OperationalError:
        yield False
        return
    with server, server.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        try:
            yield True
        finally:
            cursor.execute(f"DROP DATABASE {name}")


def site_environment(known: Databases, broker_url: str, **more: str) -> dict[str, str]:
    """What a process of the project is told; results stay with the broker, or nowhere on RabbitMQ."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CELERIAC_", "CELERY_", "SHOP_"))}
    return {
        **kept,
        "CELERIAC_BROKER_URL": broker_url,
        "CELERIAC_RESULT_BACKEND": "" if broker_url.startswith("amqp") else broker_url,
        "SHOP_DATABASES": json.dumps(known),
        "PYTHONWARNINGS": "error",
        "PYTHONUNBUFFERED": "1",
        **more,
    }


def manage(environment: Mapping[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    """Run a command of manage.py to its end."""
    return subprocess.run(
        [sys.executable, "manage.py", *args],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )


class Site:
    """The project on one broker.  Workers are processes, and gone with it."""

    def __init__(self, known: Databases, broker_url: str, directory: Path, guard: Guard) -> None:
        self.databases = known
        self.broker_url = broker_url
        self._directory = directory
        self._guard = guard
        self._workers: list[SiteWorker] = []

    def environment(self, settings: Mapping[str, Any] | None = None, **more: str) -> dict[str, str]:
        """The environment of a process, with settings of Celeriac."""
        return site_environment(self.databases, self.broker_url, SHOP_CELERY=json.dumps(settings or {}), **more)

    def worker(
        self, *options: str, settings: Mapping[str, Any] | None = None, ready: bool = True, **more: str
    ) -> SiteWorker:
        """Start `manage.py celeriac worker`."""
        name = f"w{len(self._workers) + 1}"
        log_file = self._directory / f"{name}.log"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "manage.py", "celeriac", "worker", "-n", f"{name}@site", *(options or ("-c", "2"))],
                cwd=PROJECT,
                env=self.environment(settings, **more),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        worker = SiteWorker(name, process, log_file)
        self._workers.append(worker)
        self._guard.watch(process)
        if ready:
            worker.wait_ready()
        return worker

    def close(self) -> None:
        """End all workers; their logs are shown with a failure."""
        for worker in self._workers:
            worker.clean_up()
            print(f"--- log of {worker.name}\n{worker.log}")


class SiteWorker:
    """One worker of the project."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log_file: Path) -> None:
        self.name = name
        self.process = process
        self._log_file = log_file

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._log_file.read_text(errors="replace")

    def wait_ready(self) -> None:
        """Return when it takes messages."""

        def ready() -> bool:
            assert self.process.poll() is None, f"{self.name} ended:\n{self.log}"
            return f"{self.name}@site ready." in self.log

        wait_until(ready, f"worker {self.name} is ready", deadline_s=DEADLINE_S)

    def kill(self) -> None:
        """Kill its core as a power cut does, relay included, and see the executors die with it."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait(DEADLINE_S)
        _gone, alive = psutil.wait_procs(family, timeout=DEADLINE_S)
        assert not alive

    def terminate(self) -> int:
        """Stop it in a friendly way; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def clean_up(self) -> None:
        """End it, whatever its state. Idempotent."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(DEADLINE_S)


class Journal:
    """The entries that tasks have made in one database."""

    def __init__(self, alias: str) -> None:
        from django.apps import apps

        self._entries = apps.get_model("django_orders", "Entry").objects.using(alias)

    def texts(self) -> Counter[str]:
        """How often each text stands there."""
        return Counter(self._entries.values_list("text", flat=True))

    def ids(self) -> Counter[str]:
        """How often each task has written."""
        return Counter(self._entries.values_list("task_id", flat=True))

    def until(self, condition: Callable[[Counter[str]], bool], what: str) -> Counter[str]:
        """Wait until the texts are as wanted; returns them."""
        try:
            wait_until(lambda: condition(self.texts()), what, deadline_s=DEADLINE_S)
        except Exception as error:
            raise AssertionError(f"{error}; there are {self.texts()}") from None
        return self.texts()

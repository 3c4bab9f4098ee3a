"""The SQLite result backend with the embedded broker: one file, several processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from celeriac.backends import open_backend
from celeriac.backends.sqlite import SqliteBackend
from celeriac.brokers.embedded.sqlite import SqliteBroker
from celeriac.core.effects import ACK, Record, Settlement
from celeriac.core.settings import make_settings
from celeriac.exceptions import BackendUnavailable, ImproperlyConfigured
from celeriac.testing.backend_suite import Watcher, make_record
from celeriac.testing.broker_suite import make_message

DEADLINE_S = 30.0


def remove_all(directory: Path) -> None:
    for file in list(directory.iterdir()):
        file.unlink()


def test_what_the_broker_stores_when_it_settles_the_backend_tells(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/celeriac.db"
    settings = make_settings({})
    broker, backend = SqliteBroker(url, settings), open_backend(url, settings)

    async def scenario() -> None:
        consumer = broker.consumer()
        await consumer.open("worker", ["suite"])
        watcher = Watcher(backend.listener(), DEADLINE_S)
        await watcher.open()
        message = make_message()
        await watcher.listener.watch([message.id])
        await consumer.publish([message])
        (delivery,) = await consumer.claim(1, 5)
        record = make_record(message.id, result=42)
        assert await consumer.settle([Settlement(delivery.tag, ACK, records=[record])]) == []
        await watcher.see(record)
        await watcher.close()
        await consumer.close()
        with closing(backend.reader()) as reader:
            assert reader.fetch([message.id]) == {message.id: record.payload}

    asyncio.run(scenario())


def test_a_result_of_another_process_is_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/results.db"
    program = """
import sys
from celeriac.backends.sqlite import SqliteBackend
from celeriac.core.settings import make_settings
from celeriac.testing.backend_suite import make_record
SqliteBackend(sys.argv[1], make_settings({})).reader().store([make_record("from afar", result="ok")])
"""

    async def scenario() -> None:
        watcher = Watcher(SqliteBackend(url, make_settings({})).listener(), DEADLINE_S)
        await watcher.open()
        await watcher.listener.watch(["from afar"])
        command = [sys.executable, "-c", program, url]
        await asyncio.to_thread(subprocess.run, command, check=True, timeout=DEADLINE_S)
        await watcher.see(make_record("from afar", result="ok"))
        await watcher.close()

    asyncio.run(scenario())


def test_a_listener_goes_on_with_a_file_made_anew(tmp_path: Path) -> None:
    backend = SqliteBackend(f"sqlite:///{tmp_path}/results.db", make_settings({}))

    async def scenario() -> None:
        watcher, writer = Watcher(backend.listener(), DEADLINE_S), backend.writer()
        await watcher.open()
        await writer.store([make_record(f"old-{number}") for number in range(10)])
        await watcher.listener.watch(["old-9", "new"])
        await watcher.see(make_record("old-9"))
        await asyncio.to_thread(remove_all, tmp_path)
        await writer.store([record := make_record("new")])
        await watcher.see(record)
        await watcher.close()
        await writer.close()

    asyncio.run(scenario())


def test_errors_are_those_of_a_backend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    backend = SqliteBackend(f"sqlite:///{tmp_path}/file/results.db", make_settings({}))
    with pytest.raises(BackendUnavailable, match=r"results\.db"):
        backend.reader().fetch(["x"])

    async def scenario() -> None:
        writer, listener = backend.writer(), backend.listener()
        with pytest.raises(BackendUnavailable):
            await writer.store([Record("x", "SUCCESS", b"", None)])
        with pytest.raises(BackendUnavailable):
            await listener.open(lambda task_id, document: None)
        with pytest.raises(BackendUnavailable):
            await listener.run()
        await writer.close()
        await listener.close()

    asyncio.run(scenario())
    with pytest.raises(ImproperlyConfigured):
        SqliteBackend("sqlite://", make_settings({}))

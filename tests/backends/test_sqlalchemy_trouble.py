"""Databases that are away, that hang, that refuse, and those that were there before us."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, inspect, make_url

from celeriac.backends.sqlalchemy import DatabaseBackend
from celeriac.core.effects import Record
from celeriac.core.ports import ResultWriter
from celeriac.core.settings import make_settings
from celeriac.core.workflow import ChordOpening, Part
from celeriac.exceptions import BackendUnavailable, MessageTooLarge
from celeriac.torture.servers.proxy import Proxy
from celeriac.torture.servers.service import wait_until
from celeriac.wire import chord_part, result_meta
from celeriac.wire.result_meta import ResultMeta
from tests.backends.sqlalchemy_places import Place

OLD_TABLE = """
    CREATE TABLE celery_taskmeta (
        id INTEGER NOT NULL {own_number}, task_id VARCHAR(155), status VARCHAR(50), result {blob}, date_done {time},
        traceback TEXT, name VARCHAR(155), args {blob}, kwargs {blob}, worker VARCHAR(155), retries INTEGER, queue VARCHAR(155),
        PRIMARY KEY (id), UNIQUE (task_id)
    )
"""
"""As Celery 5.6 makes it."""


def new_id() -> str:
    return str(uuid.uuid4())


def record(task_id: str | None = None, result: Any = 1, state: str = "SUCCESS", **fields: Any) -> Record:
    task_id = task_id or new_id()
    meta = ResultMeta(status=state, result=result, task_id=task_id, **fields)
    return Record(task_id, state, result_meta.encode(meta, max_bytes=100_000_000), 3600.0)


def backend_of(place: Place, **settings: Any) -> DatabaseBackend:
    return DatabaseBackend(place.backend_url, make_settings(settings))


def write(backend: DatabaseBackend, *records: Record) -> None:
    async def scenario() -> None:
        writer = backend.writer()
        try:
            await writer.store(records)
        finally:
            await writer.close()

    asyncio.run(scenario())


def read(backend: DatabaseBackend, *ids: str) -> dict[str, ResultMeta]:
    reader = backend.reader()
    try:
        return {task_id: result_meta.decode(payload) for task_id, payload in reader.fetch(ids).items()}
    finally:
        reader.close()


@pytest.fixture
def mariadb(new_place: Place) -> Place:
    return only(new_place, "mysql")


@pytest.fixture
def postgresql(place: Place) -> Place:
    return only(place, "postgresql")


def only(place: Place, dialect: str) -> Place:
    if place.engine.dialect.name != dialect:
        pytest.skip(f"for {dialect}")
    return place


# -- away, and hanging -------------------------------------------------------------------------------------------------


@pytest.fixture
def relayed(place: Place) -> Iterator[tuple[Proxy, str]]:
    url = make_url(place.url)
    if url.host is None:
        pytest.skip("no server")
    with backend_of(place).reader()._database.hold(lambda connection: None)[0]:
        pass  # the tables are there
    relay = Proxy(url.port or 0, url.host)
    yield relay, "db+" + url.set(port=relay.port).render_as_string(hide_password=False)
    relay.thaw()
    relay.close()


def test_a_call_ends_when_the_server_is_gone_without_a_word(relayed: tuple[Proxy, str]) -> None:
    relay, url = relayed
    backend = DatabaseBackend(url, make_settings({"database_timeout_s": 1.0}))
    reader = backend.reader()
    (first, second) = (record(), record())
    reader.store([first])

    async def scenario() -> None:
        writer = backend.writer()
        await writer.store([first])
        relay.freeze()
        with pytest.raises(BackendUnavailable):
            await writer.store([second])
        with pytest.raises(BackendUnavailable):
            await writer.store([second])  # has to connect
        relay.thaw()
        await until_it_works(writer, second)
        await writer.close()

    async def until_it_works(writer: ResultWriter, stored: Record) -> None:
        for attempt in range(20):
            try:
                await writer.store([stored])
                break
            except BackendUnavailable:
                assert attempt < 19

    asyncio.run(scenario())
    relay.freeze()
    with pytest.raises(BackendUnavailable):
        reader.fetch([first.id])
    relay.thaw()

    def back() -> bool:
        try:
            return set(reader.fetch([first.id, second.id])) == {first.id, second.id}
        except BackendUnavailable:
            return False

    wait_until(back, "the reader works again")
    reader.close()


def test_nobody_is_there() -> None:
    backend = DatabaseBackend("db+postgresql+psycopg://u:secret@127.0.0.1:1/none", make_settings({}))
    reader = backend.reader()
    with pytest.raises(BackendUnavailable, match="refused") as raised:
        reader.fetch(["a"])
    assert "secret" not in str(raised.value)
    assert backend.shown_url() == "db+postgresql+psycopg://u:**@127.0.0.1:1/none"
    reader.close()


def test_who_waits_for_a_lock_too_long_is_told(place: Place) -> None:
    """A row that somebody has locked: the call ends, nothing of it has happened, and later it works."""
    backend = backend_of(place, database_timeout_s=1.0)
    started = record(state="STARTED", result={})
    write(backend_of(place), started)
    ended = record(started.id)
    with place.engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        connection.exec_driver_sql(f"UPDATE celery_taskmeta SET retries = 1 WHERE task_id = '{started.id}'")
        with pytest.raises(BackendUnavailable):
            write(backend, ended)
        connection.rollback()
    patient = backend_of(place)
    assert read(patient, started.id)[started.id].status == "STARTED"
    write(patient, ended)
    assert read(patient, started.id)[started.id].status == "SUCCESS"


def test_a_child_made_by_fork_has_connections_of_its_own(place: Place) -> None:
    backend = backend_of(place)
    reader = backend.reader()
    parents, childs = record(), record()
    reader.store([parents])
    pid = os.fork()
    if pid == 0:
        try:
            reader.store([childs])
            found = reader.fetch([parents.id, childs.id])
            reader.close()
            os._exit(0 if len(found) == 2 else 1)
        except BaseException:
            os._exit(2)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert len(reader.fetch([parents.id, childs.id])) == 2, "the parent's connection still works"
    reader.close()


# -- tables ------------------------------------------------------------------------------------------------------------


def test_many_who_come_at_once_make_the_tables_once(new_place: Place) -> None:
    backend = backend_of(new_place)
    ready = threading.Barrier(6)
    failed: list[BaseException] = []
    records = [record() for _ in range(6)]

    def work(number: int) -> None:
        reader = backend.reader()
        try:
            ready.wait(30)
            reader.store([records[number]])
        except BaseException as error:
            failed.append(error)
        finally:
            reader.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(read(backend, *(item.id for item in records))) == 6


def test_a_table_of_an_older_celery_gets_what_it_lacks(new_place: Place) -> None:
    kinds = {
        "sqlite": {"own_number": "", "blob": "BLOB", "time": "DATETIME"},
        "postgresql": {"own_number": "", "blob": "BYTEA", "time": "TIMESTAMP"},
        "mysql": {"own_number": "", "blob": "BLOB", "time": "DATETIME"},
    }
    new_place.execute(OLD_TABLE.format(**kinds[new_place.engine.dialect.name]))
    if new_place.engine.dialect.name != "sqlite":
        new_place.execute("CREATE SEQUENCE task_id_sequence")
    new_place.execute("INSERT INTO celery_taskmeta (id, task_id, status) VALUES (1000, 'old', 'STARTED')")
    backend = backend_of(new_place)
    stored = record(children=[[["c", None], None]], stamps={"s": 1}, name="n")
    write(backend, stored, record("old"))
    found = read(backend, stored.id, "old")
    assert found[stored.id].children == [[["c", None], None]]
    assert found["old"].status == "SUCCESS"
    indexes = {index["name"] for index in inspect(new_place.engine).get_indexes("celery_taskmeta")}
    assert "ix_celery_taskmeta_celeriac_expires_at" in indexes, "which housekeeping needs"


def test_a_large_table_is_not_locked_for_an_index(
    new_place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("celeriac.backends.sqlalchemy.setup.ROWS_MAX", 3)
    write(backend_of(new_place), *(record() for _ in range(4)))
    name = "ix_celery_taskmeta_celeriac_expires_at"
    on = " ON celery_taskmeta" if new_place.engine.dialect.name == "mysql" else ""
    new_place.execute(f"DROP INDEX {name}{on}")
    caplog.clear()
    write(backend_of(new_place), record())
    (warning,) = [message for message in caplog.messages if name in message]
    statement = warning.partition("run: ")[2]
    if new_place.engine.dialect.name == "postgresql":
        assert "INDEX CONCURRENTLY" in statement
        statement = statement.replace("CONCURRENTLY", "")  # which no transaction takes
    new_place.execute(statement)
    caplog.clear()
    write(backend_of(new_place), record())
    assert caplog.messages == []


def test_tables_that_are_dropped_are_made_again(new_place: Place) -> None:
    reader = backend_of(new_place).reader()
    reader.store([record()])
    new_place.execute("DROP TABLE celery_taskmeta")
    reader.store([again := record()])
    assert set(reader.fetch([again.id])) == {again.id}
    reader.close()


def test_names_and_schemas_of_ones_own(postgresql: Place) -> None:
    postgresql.execute("DROP SCHEMA IF EXISTS results CASCADE")
    postgresql.execute("CREATE SCHEMA results")
    backend = backend_of(
        postgresql,
        database_table_names={"task": "my tasks", "chord": "my_chords"},
        database_table_schemas={"task": "results", "group": "results"},
    )
    reader = backend.reader()
    reader.store([stored := record()])
    reader.open_chords([ChordOpening("g", 1, None)])
    reader.close()
    assert set(read(backend, stored.id)) == {stored.id}
    tables = postgresql.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'results' ORDER BY tablename")
    assert [name for (name,) in tables] == ["celeriac_chord_part", "celery_tasksetmeta", "my tasks", "my_chords"]
    assert postgresql.execute('SELECT count(*) FROM results."my tasks"') == [(1,)]


def test_who_may_not_change_tables_is_told(postgresql: Place) -> None:
    postgresql.empty()
    postgresql.execute("DROP ROLE IF EXISTS celeriac_reads")
    postgresql.execute("CREATE ROLE celeriac_reads LOGIN")
    url = make_url(postgresql.url).set(username="celeriac_reads")
    reader = DatabaseBackend("db+" + url.render_as_string(), make_settings({})).reader()
    try:
        with pytest.raises(BackendUnavailable, match=r"permission denied .*; see 'Tables' in the guide"):
            reader.fetch(["a"])
        write(backend_of(postgresql), stored := record())
        for table in ("celery_taskmeta", "celery_tasksetmeta", "celeriac_chord", "celeriac_chord_part"):
            postgresql.execute(f"GRANT SELECT ON {table} TO celeriac_reads")
        assert set(reader.fetch([stored.id])) == {stored.id}, "who finds the tables needs no more than to read"
        with pytest.raises(BackendUnavailable, match="permission denied"):
            reader.store([record()])
        for table in ("celery_taskmeta", "celery_tasksetmeta", "celeriac_chord", "celeriac_chord_part"):
            postgresql.execute(f"GRANT INSERT, UPDATE, DELETE ON {table} TO celeriac_reads")
        for sequence in ("task_id_sequence", "taskset_id_sequence"):
            postgresql.execute(f"GRANT USAGE ON SEQUENCE {sequence} TO celeriac_reads")
        write(DatabaseBackend("db+" + url.render_as_string(), make_settings({})), again := record())
        assert set(reader.fetch([again.id])) == {again.id}
    finally:
        reader.close()
        postgresql.execute("DROP OWNED BY celeriac_reads")
        postgresql.execute("DROP ROLE celeriac_reads")


# -- what a database does not take -------------------------------------------------------------------------------------


def test_a_result_that_no_packet_holds_fails_clearly(mariadb: Place) -> None:
    """And what is stored together with it arrives."""
    (limit,) = mariadb.execute("SELECT @@max_allowed_packet")[0]
    assert isinstance(limit, int)
    backend = backend_of(mariadb)
    large, small = record(result="x" * (limit // 2)), record()
    write(backend, large, small)
    found = read(backend, large.id, small.id)
    assert found[small.id].result == 1
    assert found[large.id].status == "FAILURE"
    assert isinstance(found[large.id].result, MessageTooLarge)
    assert "max_allowed_packet" in str(found[large.id].result)
    payload = large.payload

    async def scenario() -> None:
        writer = backend.writer()
        await writer.open_chords([ChordOpening("g", 1, 60.0)])
        assert await writer.join([Part("g", large.id, 0, payload, 60.0)]) == [True]
        (part,) = (await writer.collect("g")).parts
        assert chord_part.decode(part).failed
        await writer.close()

    asyncio.run(scenario())
    reader = backend.reader()
    with pytest.raises(MessageTooLarge, match="max_allowed_packet"):
        reader.save_group("g", payload, None)
    reader.close()


def test_a_table_with_small_columns_takes_large_results(mariadb: Place) -> None:
    """As Celery makes it: 64 kB for a value. Celery reads an error there, we the result."""
    mariadb.execute(OLD_TABLE.format(own_number="", blob="BLOB", time="DATETIME"))
    mariadb.execute("CREATE SEQUENCE task_id_sequence")
    backend = backend_of(mariadb)
    large = record(result="x" * 100_000, traceback="ä" * 100_000, name="n", args=["y" * 70_000])
    write(backend, large)
    reader = backend.reader()
    assert reader.fetch([large.id]) == {large.id: large.payload}
    reader.close()
    ((shown,),) = mariadb.execute("SELECT CONVERT(result USING utf8mb4) FROM celery_taskmeta")
    assert shown == "<in the column celeriac_document>"


def test_a_table_that_takes_no_such_letters(mariadb: Place) -> None:
    table = OLD_TABLE.format(own_number="", blob="LONGBLOB", time="DATETIME")
    mariadb.execute(f"{table} CHARACTER SET latin1")
    mariadb.execute("CREATE SEQUENCE task_id_sequence")
    backend = backend_of(mariadb)
    stored = record(traceback="日本語", name="日本語", result="日本語")
    write(backend, stored)
    reader = backend.reader()
    assert reader.fetch([stored.id]) == {stored.id: stored.payload}
    reader.close()


def test_ids_that_a_table_takes_for_one_hold_up_nobody(mariadb: Place) -> None:
    """Celery's table on MySQL takes ids that differ in case for one: the later one of both is not stored, as with Celery."""
    mariadb.execute(OLD_TABLE.format(own_number="", blob="LONGBLOB", time="DATETIME"))
    mariadb.execute("CREATE SEQUENCE task_id_sequence")
    backend = backend_of(mariadb)
    other = record()
    write(backend, record("Order", 1), record("order", 2), other)
    assert {task_id: meta.result for task_id, meta in read(backend, "Order", "order", other.id).items()} == {
        "Order": 1,
        other.id: 1,
    }


def test_our_own_table_tells_such_ids_apart(new_place: Place) -> None:
    backend = backend_of(new_place)
    write(backend, record("Order", 1), record("order", 2))
    assert {task_id: meta.result for task_id, meta in read(backend, "Order", "order").items()} == {
        "Order": 1,
        "order": 2,
    }


def test_odd_ids(place: Place) -> None:
    backend = backend_of(place)
    ids = ["ä", "a b", "x" * 300, "zero\0", "%s", "'"]
    write(backend, *(record(task_id, number) for number, task_id in enumerate(ids)))
    assert {task_id: meta.result for task_id, meta in read(backend, *ids).items()} == {
        task_id: number for number, task_id in enumerate(ids)
    }
    reader = backend.reader()
    reader.open_chords([ChordOpening("ä", 1, None)])
    reader.extend_chord("ä", "ö", None)
    (state,) = reader.chords(["ä"])
    assert (state.size, reader.chords([state.group_id])) == (2, [state])
    reader.save_group("ä", b"saved", None)
    assert reader.fetch_group("ä") == b"saved"
    reader.forget(ids)
    assert reader.fetch(ids) == {}
    reader.close()


# -- housekeeping ------------------------------------------------------------------------------------------------------


def test_what_has_expired_is_deleted(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celeriac.backends.sqlalchemy.writer.EXPIRE_EVERY_S", 0.0)
    monkeypatch.setattr("celeriac.backends.sqlalchemy.results.EXPIRED_PER_SWEEP", 2)
    backend = backend_of(place, result_expires=3600)
    short = [Record(item.id, item.state, item.payload, 0.05) for item in (record() for _ in range(5))]
    kept = record()
    write(backend, kept, *short)
    number = 0 if place.engine.dialect.name == "sqlite" else 5000
    for task_id, when in (("theirs", "2020-01-01 00:00:00"), ("theirs-new", "2999-01-01 00:00:00")):
        number += 1
        place.execute(
            "INSERT INTO celery_taskmeta (id, task_id, status, date_done)"
            f" VALUES ({number + 10_000}, '{task_id}', 'SUCCESS', '{when}')"
        )

    async def scenario() -> None:
        writer = backend.writer()
        await writer.join([Part("gone", "m", 0, b"[]", 0.05), Part("stays", "m", 0, b"[]", 60.0)])
        while True:
            await writer.store([record("again")])
            if left("celery_taskmeta", "task_id") == {kept.id, "theirs-new", "again"} and left(
                "celeriac_chord_part", "group_id"
            ) == {"stays"}:
                break
        await writer.close()

    def left(table: str, column: str) -> set[object]:
        return {value for (value,) in place.execute(f"SELECT {column} FROM {table}")}

    asyncio.run(asyncio.wait_for(scenario(), 60))


# -- listening ---------------------------------------------------------------------------------------------------------


def listen(backend: DatabaseBackend, then: Callable[[str], None]) -> list[bytes]:
    """Watch a task, do something, and wait until its result is told."""

    async def scenario() -> list[bytes]:
        listener = backend.listener()
        told: list[bytes] = []
        heard = asyncio.Event()

        def deliver(task_id: str, document: bytes) -> None:
            told.append(document)
            heard.set()

        await listener.open(deliver)
        task_id = new_id()
        await listener.watch([task_id])
        running = asyncio.create_task(listener.run())
        await asyncio.sleep(0.3)
        await asyncio.to_thread(then, task_id)
        async with asyncio.timeout(60):
            await heard.wait()
        running.cancel()
        await asyncio.wait([running])
        await listener.close()
        return told

    return asyncio.run(scenario())


def test_postgresql_rings(postgresql: Place) -> None:
    """Looking again only after an hour, a listener hears of it nevertheless."""
    backend = backend_of(postgresql, database_poll_max_s=3600.0)
    told = listen(backend, lambda task_id: write(backend, *(record() for _ in range(700)), record(task_id, 5)))
    assert [result_meta.decode(document).result for document in told] == [5]


def test_who_gives_up_while_it_connects_leaves_no_connection(postgresql: Place) -> None:
    backend = backend_of(postgresql)

    async def give_up() -> None:
        listener = backend.listener()
        opening = asyncio.create_task(listener.open(lambda task_id, document: None))
        await asyncio.sleep(0.001)  # the thread is connecting
        opening.cancel()
        await asyncio.wait([opening])
        await listener.close()

    for _ in range(5):
        asyncio.run(give_up())
    gc.collect()  # a connection that nobody has closed warns then, which fails the test
    there = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%%'"
    wait_until(lambda: postgresql.execute(there) == [(0,)], "none listens")


def test_who_waits_looks_less_and_less_often(tmp_path: Path) -> None:
    looks: list[str] = []

    def count(engine: Any) -> None:
        @event.listens_for(engine, "before_cursor_execute")
        def before(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
            if "SELECT" in statement and "celeriac_stored_at" in statement:
                looks.append(statement)

    backend = DatabaseBackend(f"db+sqlite:///{tmp_path}/results.db", make_settings({"database_engine_callback": count}))

    async def scenario() -> None:
        listener = backend.listener()
        await listener.open(lambda task_id, document: None)
        await listener.watch([new_id()])
        running = asyncio.create_task(listener.run())
        await asyncio.sleep(1.0)
        running.cancel()
        await asyncio.wait([running])
        await listener.close()

    asyncio.run(scenario())
    assert 2 <= len(looks) <= 15

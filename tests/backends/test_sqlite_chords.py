"""Chords in the SQLite file: with the embedded broker's settlements, by many processes, and in files of older versions."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from celeriac.backends.sqlite import SqliteBackend
from celeriac.brokers.embedded.sqlite import SqliteBroker
from celeriac.brokers.embedded.sqlite_consumer import SqliteConsumer
from celeriac.core.effects import ACK, Lost, Record, Settlement
from celeriac.core.message import Delivery
from celeriac.core.settings import make_settings
from celeriac.core.workflow import ChordOpening, ChordState, Completed, Part
from celeriac.testing.broker_suite import make_message, make_messages

GOLDEN = Path(__file__).parents[1] / "golden" / "sqlite_format_1.sql"
TABLES = ("chords", "chord_parts", "chord_additions", "saved_groups")


class Place:
    """A file, with a broker and a backend on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        settings = make_settings({})
        self.broker = SqliteBroker(self.url, settings)
        self.backend = SqliteBackend(self.url, settings)

    def open_chord(self, size: int, expires_s: float | None = 3600.0) -> None:
        with closing(self.backend.reader()) as reader:
            reader.open_chords([ChordOpening("g", size, expires_s, b"body")])

    def state(self) -> ChordState | None:
        with closing(self.backend.reader()) as reader:
            return next(iter(reader.chords(["g"])), None)

    def payloads(self) -> list[bytes]:
        with closing(self.backend.reader()) as reader:
            return reader.collect("g").parts

    def rows(self, table: str) -> int:
        with closing(sqlite3.connect(self.path)) as connection:
            return int(connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])

    @asynccontextmanager
    async def claimed(self, count: int) -> AsyncIterator[tuple[SqliteConsumer, list[Delivery]]]:
        consumer = self.broker.consumer()
        await consumer.open("worker", ["suite"])
        await consumer.publish(make_messages(count))
        yield consumer, await consumer.claim(count, 5)
        await consumer.close()


def part(index: int, member_id: str | None = None) -> Part:
    return Part("g", member_id or f"member-{index}", index, f"part-{index}".encode(), 3600.0)


# -- with the settlement ----------------------------------------------------------------------------------------------


def test_what_completes_a_chord_is_settled_when_its_body_is_there(tmp_path: Path) -> None:
    place = Place(tmp_path / "celeriac.db")
    place.open_chord(2)

    async def scenario() -> None:
        async with place.claimed(2) as (consumer, (first, second)):
            records = [Record("member-1", "SUCCESS", b"1", None)]
            assert await consumer.settle([Settlement(first.tag, ACK, parts=[part(0)])]) == []
            last = Settlement(second.tag, ACK, [make_message()], records, [part(1)])
            for _ in range(2):  # whoever asks again is told so again
                assert await consumer.settle([last]) == [Completed(second.tag, "g")]
                assert place.rows("messages") == 1, "nothing was acknowledged, and nothing published"
                assert place.rows("results") == 0
            assert place.payloads() == [b"part-0", b"part-1"]
            assert (state := place.state()) is not None
            assert (state.size, state.ended, state.claimed, state.body) == (2, 2, True, b"body")
            last.closes = ["g"]
            assert await consumer.settle([last]) == []
            assert place.rows("messages") == 1, "the message is gone and its follow-up there"
            assert place.rows("results") == 1
            assert place.state() is None
            assert place.rows("chord_parts") == 0
            assert await consumer.settle([last]) == [Lost(second.tag)]

    asyncio.run(scenario())


def test_a_member_whose_claim_was_lost_does_not_count(tmp_path: Path) -> None:
    place = Place(tmp_path / "celeriac.db")
    place.open_chord(1)

    async def scenario() -> None:
        async with place.claimed(1) as (consumer, (delivery,)):
            strange = (10**9, 1)
            settlements = [Settlement(tag, ACK, parts=[part(0)]) for tag in (strange, None)]
            assert await consumer.settle(settlements) == [Lost(strange), Lost(None)]
            await consumer.release()
            assert await consumer.settle([Settlement(delivery.tag, ACK, parts=[part(0)], closes=["g"])]) == [
                Lost(delivery.tag)
            ]
            assert (state := place.state()) is not None
            assert (state.ended, state.claimed) == (0, False), "and it closes nothing"

    asyncio.run(scenario())


def test_one_settlement_finishes_one_chord_after_the_other(tmp_path: Path) -> None:
    """As that of an inner chord's last member, whose body fails and is a member of the outer chord."""
    place = Place(tmp_path / "celeriac.db")
    with closing(place.backend.reader()) as reader:
        reader.open_chords([ChordOpening("inner", 1, None), ChordOpening("outer", 1, None)])

    async def scenario() -> None:
        async with place.claimed(1) as (consumer, (delivery,)):
            inner, outer = (Part(name, "member", 0, name.encode()) for name in ("inner", "outer"))
            settlement = Settlement(delivery.tag, ACK, parts=[inner, outer])
            assert await consumer.settle([settlement]) == [Completed(delivery.tag, "inner")]
            settlement.closes = ["inner"]
            assert await consumer.settle([settlement]) == [Completed(delivery.tag, "outer")]
            settlement.closes = ["inner", "outer"]
            assert await consumer.settle([settlement]) == []
            assert place.rows("chords WHERE NOT closed") == 0

    asyncio.run(scenario())


def test_a_body_that_cannot_be_sent_leaves_its_chord_open(tmp_path: Path) -> None:
    """The member is parked with the reason; retried, it is the finisher again."""
    place = Place(tmp_path / "celeriac.db")
    place.open_chord(1)

    async def scenario() -> None:
        async with place.claimed(1) as (consumer, (delivery,)):
            nowhere = make_message(queue="")
            nowhere.exchange, nowhere.routing_key = "amq.topic", "nobody.listens"
            settlement = Settlement(delivery.tag, ACK, [nowhere], parts=[part(0)], closes=["g"])
            assert await consumer.settle([settlement]) == []
            with closing(place.broker.admin()) as admin:
                (letter,) = admin.dead_letters("suite", 10)
                assert "its follow-up cannot be sent" in letter.reason
                assert (state := place.state()) is not None
                assert state.claimed
                admin.dead_retry("suite", [letter.id])
            (again,) = await consumer.claim(1, 5)
            assert await consumer.settle([Settlement(again.tag, ACK, parts=[part(0)])]) == [Completed(again.tag, "g")]

    asyncio.run(scenario())


def test_parts_are_left_to_the_backend_where_that_is_another_file(tmp_path: Path) -> None:
    place = Place(tmp_path / "celeriac.db")
    settings = make_settings({"result_backend": f"sqlite:///{tmp_path}/other.db"})
    place.broker = SqliteBroker(place.url, settings)
    place.open_chord(1)

    async def scenario() -> None:
        async with place.claimed(1) as (consumer, (delivery,)):
            assert await consumer.settle([Settlement(delivery.tag, ACK, parts=[part(0)], closes=["g"])]) == []
            assert (state := place.state()) is not None
            assert state.ended == 0

    asyncio.run(scenario())


def test_whoever_finishes_a_chord_does_not_see_it_change(tmp_path: Path) -> None:
    place = Place(tmp_path / "celeriac.db")
    place.open_chord(1)

    async def scenario() -> None:
        writer = place.backend.writer()
        twice = [part(index, "member") for index in (0, 1)]
        finishes = await writer.join([*twice, *twice])
        assert finishes == [True, False, True, False], "it is the part that finishes, not all of its member"
        await writer.close()

    asyncio.run(scenario())
    assert place.payloads() == [b"part-0"]
    assert (state := place.state()) is not None
    assert state.ended == 1


# -- many processes ---------------------------------------------------------------------------------------------------


def test_many_processes_find_one_finisher(tmp_path: Path) -> None:
    """Three processes join the same members of the same chords, each member thus three times, and in another order."""
    program = """
import asyncio, random, sys
from celeriac.backends.sqlite import SqliteBackend
from celeriac.core.settings import make_settings
from celeriac.core.workflow import Part

async def main():
    writer = SqliteBackend(sys.argv[1], make_settings({})).writer()
    members = [(group, index) for group in range(10) for index in range(20)]
    random.Random(sys.argv[2]).shuffle(members)
    for start in range(0, len(members), 7):
        parts = [Part(f"g{group}", f"m{index}", index, b"%d" % index, 3600.0) for group, index in members[start : start + 7]]
        for part, is_finisher in zip(parts, await writer.join(parts)):
            if is_finisher:
                print(part.group_id, part.member_id)
    await writer.close()

asyncio.run(main())
"""
    place = Place(tmp_path / "celeriac.db")
    with closing(place.backend.reader()) as reader:
        reader.open_chords([ChordOpening(f"g{number}", 20, 3600.0) for number in range(10)])
        processes = [
            subprocess.Popen([sys.executable, "-c", program, place.url, str(seed)], stdout=subprocess.PIPE, text=True)
            for seed in range(3)
        ]
        told = [line for process in processes for line in process.communicate(timeout=60)[0].splitlines()]
        assert [process.returncode for process in processes] == [0, 0, 0]
        assert sorted({line.split()[0] for line in told}) == sorted(f"g{number}" for number in range(10))
        assert len(set(told)) == 10, "the same member each time, however often it asked"
        assert reader.collect("g0").parts == [b"%d" % index for index in range(20)]


# -- housekeeping, and files of older versions ------------------------------------------------------------------------


def test_what_is_kept_long_enough_is_deleted_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    place = Place(tmp_path / "celeriac.db")

    async def scenario() -> None:
        consumer, writer, reader = place.broker.consumer(), place.backend.writer(), place.backend.reader()
        for keep in (consumer.maintain, lambda: writer.store([])):
            reader.open_chords([ChordOpening("old", 3, 0.1), ChordOpening("new", 3, 3600.0)])
            reader.extend_chord("old", "added", 0.1)
            reader.save_group("old", b"document", 0.1)
            await consumer.open("worker", ["suite"])
            await consumer.publish([make_message()])
            (delivery,) = await consumer.claim(1, 5)
            assert await consumer.settle([Settlement(delivery.tag, ACK, parts=[Part("old", "m", 0, b"", 0.1)])]) == []
            assert [place.rows(table) for table in TABLES] == [2, 1, 1, 1]
            await asyncio.sleep(0.2)  # their time has to pass; there is nothing to wait for
            await keep()
            assert [place.rows(table) for table in TABLES] == [1, 0, 0, 0]
        for side in (consumer, writer):
            await side.close()
        reader.close()

    asyncio.run(scenario())


def test_a_file_of_an_older_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "celeriac.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(GOLDEN.read_text())
    place = Place(path)
    with closing(place.backend.reader()) as reader:
        assert list(reader.fetch(["one"])) == ["one"], "what was in it is there"
        reader.save_group("g", b"document", None)
        assert reader.fetch_group("g") == b"document"
    with closing(place.broker.admin()) as admin:
        assert admin.depths(["suite"])[0].ready == 1
    place.open_chord(1)
    with closing(sqlite3.connect(path)) as connection, closing(sqlite3.connect(tmp_path / "new.db")) as other:
        Place(tmp_path / "new.db").open_chord(1)
        tables = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
        assert [name for name, _ in connection.execute(tables)] == [name for name, _ in other.execute(tables)]
        assert connection.execute("PRAGMA user_version").fetchone() == other.execute("PRAGMA user_version").fetchone()


def test_processes_that_meet_an_older_file_together_bring_it_up_to_date_once(tmp_path: Path) -> None:
    path = tmp_path / "celeriac.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(GOLDEN.read_text())
    program = """
import sys
from celeriac.backends.sqlite import SqliteBackend
from celeriac.core.settings import make_settings
from celeriac.core.workflow import ChordOpening
reader = SqliteBackend(sys.argv[1], make_settings({})).reader()
input()
reader.open_chords([ChordOpening(sys.argv[2], 1, None)])
"""
    place = Place(path)
    processes = [
        subprocess.Popen([sys.executable, "-c", program, place.url, f"g{number}"], stdin=subprocess.PIPE, text=True)
        for number in range(3)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert place.rows("chords") == 3

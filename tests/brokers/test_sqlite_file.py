"""The SQLite broker's file: how it is made, what it refuses, what happens when the world goes wrong under it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from celeriac.brokers.embedded.sqlite import SqliteBroker
from celeriac.core.effects import ACK, Dead, Lost, Record, Settlement
from celeriac.core.message import Revocation
from celeriac.core.settings import make_settings
from celeriac.exceptions import BrokerUnavailable, EncodeError, ImproperlyConfigured
from celeriac.testing.broker_suite import make_message, make_messages
from celeriac.transports.sqlite.schema import SCHEMA_VERSION

NOBODY = 65534


def broker_at(path: Path, **settings: object) -> SqliteBroker:
    return SqliteBroker(f"sqlite:///{path}", make_settings(settings))


def publish(broker: SqliteBroker, timeout_s: float = 5.0) -> None:
    with closing(broker.producer()) as producer:
        producer.publish([make_message()], timeout_s)


def count(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])


# -- how it is made ---------------------------------------------------------------------------------------------------


def test_file_and_directories_are_for_this_user_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "newer" / "broker.db"
    before = os.umask(0)
    try:
        with closing(broker_at(path).producer()) as producer:
            producer.publish([make_message()], 5)
            files = sorted(path.parent.iterdir())
            assert [file.name for file in files] == ["broker.db", "broker.db-shm", "broker.db-wal"]
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    finally:
        os.umask(before)
    for directory in (path.parent, path.parent.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_relative_path_means_the_directory_at_the_time_of_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    broker = SqliteBroker("sqlite:///sub/broker.db", make_settings({}))
    monkeypatch.chdir(tmp_path / "elsewhere")
    publish(broker)
    assert (tmp_path / "sub" / "broker.db").exists()
    assert broker.shown_url() == "sqlite:///sub/broker.db"


def test_nothing_is_made_before_it_is_needed(tmp_path: Path) -> None:
    broker = broker_at(tmp_path / "broker.db")
    for side in (broker.producer(), broker.admin()):
        side.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///", "sqlite:////", "sqlite:///:memory:", "sqlite://host/x.db", "sqlite:///a.db?mode=ro"],
)
def test_a_url_that_names_no_file_is_refused(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"write sqlite:///relative|takes no options"):
        SqliteBroker(url, make_settings({}))


def test_results_go_into_the_same_file_unless_another_backend_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    (tmp_path / "link.db").symlink_to(path)
    for backend, stores in {
        None: True,
        f"sqlite:///{path}": True,
        f"sqlite:///{tmp_path}/x/../broker.db": True,
        f"sqlite:///{tmp_path}/link.db": True,
        f"sqlite:///{tmp_path}/other.db": False,
        "redis://localhost/0": False,
        "disabled://": False,
    }.items():
        assert broker_at(path, result_backend=backend).consumer().stores_records is stores, backend


# -- what it refuses --------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    path.write_text("Dear diary, " * 1000)
    with pytest.raises(ImproperlyConfigured, match=r"broker\.db is no SQLite database; remove it"):
        publish(broker_at(path))
    assert path.read_text().startswith("Dear diary"), "and it is left alone"


def test_another_programs_database(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE photographs (name)")
    with pytest.raises(ImproperlyConfigured, match=r"broker\.db is another program's database; name another file"):
        publish(broker_at(path))


def test_a_file_that_another_process_makes_at_the_same_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "broker.db"
    asked: list[str] = []

    class Interrupted(sqlite3.Connection):
        """Somebody else comes in between the first two questions."""

        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            if sql.startswith("PRAGMA user_version"):
                asked.append(sql)
                if len(asked) == 1:
                    with contextlib.suppress(BrokerUnavailable):  # the lock may be ours
                        publish(broker_at(path), timeout_s=0.2)
            return super().execute(sql, *args)

    monkeypatch.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=Interrupted))
    publish(broker_at(path))
    assert len(asked) > 1


def test_the_file_of_a_newer_version(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    publish(broker_at(path))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(ImproperlyConfigured, match=f"its format is 99, ours {SCHEMA_VERSION}"):
        publish(broker_at(path))


def test_a_directory_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "broker.db").mkdir()
    with pytest.raises(ImproperlyConfigured, match="no regular file"):
        publish(broker_at(tmp_path / "broker.db"))


def test_a_link_to_nowhere(tmp_path: Path) -> None:
    (tmp_path / "broker.db").symlink_to(tmp_path / "target")
    with pytest.raises(ImproperlyConfigured, match="link to nowhere"):
        publish(broker_at(tmp_path / "broker.db"))
    assert not (tmp_path / "target").exists()


def test_a_network_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Partition(NamedTuple):
        mountpoint: str
        fstype: str

    # Pretended, as no test can mount one.
    mounts = [Partition("/", "ext4"), Partition(str(tmp_path), "nfs4"), Partition(str(tmp_path / "local"), "ext4")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: mounts)
    with pytest.raises(ImproperlyConfigured, match=r"network file system \(nfs4 at .*local disk"):
        publish(broker_at(tmp_path / "broker.db"))
    publish(broker_at(tmp_path / "local" / "broker.db"))


def test_headers_that_are_no_plain_data(tmp_path: Path) -> None:
    good, bad = make_message(), make_message()
    bad.headers["lock"] = object()
    with closing(broker_at(tmp_path / "broker.db").producer()) as producer:
        with pytest.raises(EncodeError, match="queue 'suite' cannot be stored"):
            producer.publish([good, bad], 5)
        producer.publish([good], 5)
    assert count(tmp_path / "broker.db", "messages") == 1, "a batch is published as a whole or not at all"


# -- when the world goes wrong ----------------------------------------------------------------------------------------


@pytest.fixture
def foreign_directory() -> Iterator[Path]:
    """A directory that this process, no longer root, may read but not write."""
    directory = Path(tempfile.mkdtemp(prefix="celeriac-test-"))
    root = os.geteuid() == 0
    directory.chmod(0o755 if root else 0o555)
    if root:
        os.seteuid(NOBODY)
    yield directory
    if root:
        os.seteuid(0)
    directory.chmod(0o755)
    shutil.rmtree(directory)


def test_a_directory_that_cannot_be_written(foreign_directory: Path) -> None:
    for path in (foreign_directory / "broker.db", foreign_directory / "new" / "broker.db"):
        with pytest.raises(BrokerUnavailable, match=f"{foreign_directory}.*denied.*rights"):
            publish(broker_at(path))


def test_a_file_that_cannot_be_written(foreign_directory: Path) -> None:
    path = foreign_directory / "broker.db"
    root = os.getuid() == 0
    os.seteuid(0) if root else foreign_directory.chmod(0o755)
    publish(broker_at(path))
    path.chmod(0o444)
    os.seteuid(NOBODY) if root else foreign_directory.chmod(0o555)
    with pytest.raises(BrokerUnavailable, match=r"broker\.db: .*; give this user the right to write|.*right to write"):
        publish(broker_at(path))


def test_a_full_disk(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: to SQLite both are writes that fail."""
    program = """
import resource, sys
from celeriac.brokers.embedded.sqlite import SqliteBroker
from celeriac.core.settings import make_settings
from celeriac.exceptions import BrokerUnavailable
from celeriac.testing.broker_suite import make_messages

producer = SqliteBroker(sys.argv[1], make_settings({})).producer()
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
accepted = 0
try:
    for _ in range(100):
        producer.publish(make_messages(100), 5)
        accepted += 100
except BrokerUnavailable as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
producer.publish(make_messages(1), 5)
print(accepted + 1)
"""
    path = tmp_path / "broker.db"
    done = subprocess.run(
        [sys.executable, "-c", program, f"sqlite:///{path}"], capture_output=True, text=True, check=True, timeout=60
    )
    complaint, accepted = done.stdout.splitlines()
    assert "broker.db" in complaint
    assert "disk" in complaint
    assert 1 < int(accepted) < 10_000
    assert count(path, "messages") == int(accepted), "what was refused left no trace, and room made is used again"


def test_a_lock_that_is_not_given_back(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    publish(broker_at(path))
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(BrokerUnavailable, match=r"did not give its lock back within 0\.2 s"):
            publish(broker_at(path), timeout_s=0.2)
        with closing(broker_at(path).admin()) as admin:
            assert admin.depths(["suite"])[0].ready == 1, "reading goes on"
        holder.execute("ROLLBACK")
    publish(broker_at(path))
    assert count(path, "messages") == 2


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    with closing(broker_at(path).producer()) as producer:
        producer.publish(make_messages(2000), 5)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    with pytest.raises(BrokerUnavailable, match=r"it is damaged; move it away"):
        publish(broker_at(path))


def test_a_file_removed_under_its_users_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    broker = broker_at(path)

    async def scenario() -> None:
        producer, consumer = broker.producer(), broker.consumer()
        producer.publish(make_messages(2), 5)
        await consumer.open("worker", ["suite"])
        (claimed,) = await consumer.claim(1, 1)
        for name in ("broker.db", "broker.db-wal", "broker.db-shm"):
            (tmp_path / name).unlink()
        producer.publish([message := make_message()], 5)
        assert await consumer.settle([Settlement(claimed.tag, ACK)]) == [Lost(claimed.tag)]
        assert not await consumer.heartbeat(), "the lease went with the file"
        (found,) = await consumer.claim(10, 5)
        assert found.message is not None
        assert found.message.id == message.id
        assert await consumer.settle([Settlement(found.tag, ACK)]) == []
        producer.close()
        await consumer.close()

    asyncio.run(scenario())


def test_a_waiting_claim_sees_a_file_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    broker = broker_at(path)

    async def scenario() -> None:
        consumer = broker.consumer()
        await consumer.open("worker", ["suite"])
        waiting = asyncio.create_task(consumer.claim(1, 600))
        await asyncio.sleep(0.1)
        for name in ("broker.db", "broker.db-wal", "broker.db-shm"):
            (tmp_path / name).unlink()
        await asyncio.to_thread(publish, broker)
        # Nothing is claimed without a lease in the new file; the heartbeat takes it, and that wakes the claim.
        assert not await consumer.heartbeat()
        assert len(await asyncio.wait_for(waiting, 30)) == 1
        await consumer.close()

    asyncio.run(scenario())


# -- what is in it ----------------------------------------------------------------------------------------------------


def test_results_are_stored_with_the_settlement_and_only_with_it(tmp_path: Path) -> None:
    broker = broker_at(tmp_path / "broker.db")

    async def scenario() -> None:
        consumer = broker.consumer()
        await consumer.open("worker", ["suite"])
        await consumer.publish(make_messages(2))
        first, second = await consumer.claim(2, 1)
        record = Record("one", "SUCCESS", b"1", None)
        assert await consumer.settle([Settlement(first.tag, ACK, records=[record])]) == []
        unwanted = Record("two", "SUCCESS", b"2", None)
        answer = await consumer.settle([Settlement(first.tag, ACK, records=[unwanted]), Settlement(second.tag, ACK)])
        assert answer == [Lost(first.tag)]
        await consumer.close()

    asyncio.run(scenario())
    with closing(sqlite3.connect(tmp_path / "broker.db")) as connection:
        assert connection.execute("SELECT id, payload FROM results").fetchall() == [("one", b"1")]


def test_what_is_kept_long_enough_is_deleted(tmp_path: Path) -> None:
    broker = broker_at(tmp_path / "broker.db", dead_letter_expires_s=0.5)

    async def scenario() -> None:
        consumer = broker.consumer()
        await consumer.open("worker", ["suite"])
        await consumer.publish([make_message()])
        (delivery,) = await consumer.claim(1, 1)
        record = Record("short", "SUCCESS", b"", 0.5)
        assert await consumer.settle([Settlement(delivery.tag, Dead("bad"), records=[record])]) == []
        with closing(broker.admin()) as admin:
            admin.revoke([Revocation("revoked", time.time() + 0.5)])
        await asyncio.sleep(0.6)  # their time has to pass; there is nothing to wait for
        await consumer.maintain()
        await consumer.close()

    asyncio.run(scenario())
    for table in ("messages", "results", "revocations"):
        assert count(tmp_path / "broker.db", table) == 0, table


def test_the_age_of_a_queue_is_that_of_its_next_message(tmp_path: Path) -> None:
    broker = broker_at(tmp_path / "broker.db")
    with closing(broker.admin()) as admin, closing(broker.producer()) as producer:
        admin.declare(["suite"])
        assert admin.depths(["suite"])[0].oldest_age_s is None
        producer.publish([make_message()], 5)
        age_s = admin.depths(["suite"])[0].oldest_age_s
        assert age_s is not None
        assert 0 <= age_s < 60


def test_settling_what_was_never_a_tag_is_lost(tmp_path: Path) -> None:
    async def scenario() -> None:
        consumer = broker_at(tmp_path / "broker.db").consumer()
        await consumer.open("worker", ["suite"])
        tags = [None, "tag", 7, (1,), ("1", "1"), [1, 1], (10**9, 1)]
        assert await consumer.settle([Settlement(tag, ACK) for tag in tags]) == [Lost(tag) for tag in tags]
        await consumer.close()

    asyncio.run(scenario())

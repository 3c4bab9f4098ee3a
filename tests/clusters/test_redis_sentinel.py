"""Redis behind Sentinels: whoever is master is found, followed and not mistaken for who was; and what a failover can lose."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac, chord
from celeriac.exceptions import BrokerUnavailable, OperationalError, PublishTimeout
from celeriac.torture.servers.redis import PrivateRedis
from celeriac.torture.servers.redis_call import redis_call
from celeriac.torture.servers.redis_sentinel import MASTER_NAME, QUORUM, PrivateSentinel, PrivateSentinels
from celeriac.torture.servers.service import free_port, wait_until
from celeriac.transports.redis.address import parse_address
from celeriac.transports.redis.blocking import open_connection
from celeriac.transports.redis.connection import Connection
from celeriac.transports.redis.errors import ReplyError
from celeriac.transports.redis.protocol import pack
from celeriac.worker.worker import EmbeddedWorker
from tests.clusters.redis_places import LONG, WITH_SENTINELS, ReplicatedPlace, Sender, sentinel_app
from tests.e2e.harness import Guard, Scene

pytestmark = pytest.mark.redis

DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def servers(needs_redis: None) -> Iterator[PrivateSentinels]:
    """A master, a replica and three Sentinels; each test leaves them whole."""
    with PrivateSentinels() as started:
        yield started


@pytest.fixture
def guard() -> Iterator[Guard]:
    """Kills the workers that a killed test run would leave behind."""
    guard = Guard()
    yield guard
    guard.close()


def make_scene(servers: PrivateSentinels, guard: Guard, **settings: Any) -> Scene:
    """A queue of the test's own, for programs and workers with these settings."""
    directory = Path(tempfile.mkdtemp(dir=guard.directory))
    given = {**WITH_SENTINELS, **settings}
    return Scene(ReplicatedPlace(servers.url, servers.database_url(1), directory, given), guard)


def fail_over(servers: PrivateSentinels) -> None:
    """Have the Sentinels exchange master and replica: whoever is connected to the old master is thrown out."""
    old = servers.master()
    redis_call(servers.sentinels[0].port, "SENTINEL", "FAILOVER", MASTER_NAME)
    servers.wait_for_failover(old)
    servers.bring_back(old)
    wait_until(lambda: flags_of_master(servers) == "master", "the failover is over", deadline_s=DEADLINE_S)


def flags_of_master(servers: PrivateSentinels) -> str:
    """What a Sentinel says of the master: just `master` when all is well."""
    return str(redis_call(servers.sentinels[0].port, "SENTINEL", "MASTER", MASTER_NAME)[9])


def cut_replication(servers: PrivateSentinels) -> None:
    """Have the replica hear nothing more of what its master writes, until it is thawed."""
    servers.replica().freeze()
    redis_call(servers.master().port, "CLIENT", "KILL", "TYPE", "replica")


def kill_master(servers: PrivateSentinels) -> None:
    """Kill the master, let the replica take its place, and bring the dead one back as replica."""
    old, replica = servers.master(), servers.replica()
    old.kill()
    replica.thaw()
    servers.wait_for_failover(old)
    servers.bring_back(old)


# -- what goes on over a failover -------------------------------------------------------------------------------------


def test_results_limits_and_unique_tasks_go_on_after_a_failover(servers: PrivateSentinels) -> None:
    app = sentinel_app(servers)
    entered: list[int] = []

    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    @app.task
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(unique=True, max_concurrency=1)
    def only(x: int) -> int:
        entered.append(x)
        return x

    with EmbeddedWorker(app, threads=2):
        assert add.delay(1, 2).get(timeout=DEADLINE_S) == 3
        waits = add.apply_async((2, 3), countdown=4)
        fail_over(servers)
        # Scripts are not replicated: the new master is told each of them again.
        assert chord([add.s(n, n) for n in range(3)], total.s()).delay().get(timeout=DEADLINE_S) == 6
        assert only.delay(7).get(timeout=DEADLINE_S) == 7
        assert waits.get(timeout=DEADLINE_S) == 5
        assert entered == [7]
    app.close()


@pytest.mark.parametrize("knows_it", [True, False])
def test_a_former_master_is_left_whether_it_knows_that_it_is_none_or_not(needs_redis: None, knows_it: bool) -> None:
    """Nobody breaks a connection here: its refusal, or a Sentinel that is asked now and then, sends everybody on."""
    with PrivateRedis() as old, PrivateRedis() as new, PrivateSentinel(old) as sentinel:
        url = f"sentinel://127.0.0.1:{sentinel.port}"
        app = Celeriac("shop", broker=url, backend=f"{url}/1", worker_heartbeat_s=0.2, **WITH_SENTINELS)
        results: list[Any] = []

        @app.task
        def add(x: int, y: int) -> int:
            results.append(x + y)
            return x + y

        with EmbeddedWorker(app, threads=1):
            assert add.delay(1, 2).get(timeout=DEADLINE_S) == 3
            if knows_it:
                redis_call(old.port, "REPLICAOF", "127.0.0.1", new.port)
            sentinel.call("SENTINEL", "REMOVE", MASTER_NAME)
            sentinel.call("SENTINEL", "MONITOR", MASTER_NAME, "127.0.0.1", new.port, QUORUM)

            def arrives() -> bool:
                app.send_task("any", queue="moved")
                return bool(redis_call(new.port, "LLEN", "moved"))

            wait_until(arrives, "the program sends to the new master", deadline_s=DEADLINE_S, every_s=0.2)
            add.delay(3, 4)
            wait_until(lambda: 7 in results, "the worker takes from the new master", deadline_s=DEADLINE_S)
        app.close()


def test_a_replica_is_never_taken_for_the_master(own_redis: PrivateRedis) -> None:
    """Neither when a Sentinel names it, nor over a connection that was made while it was one."""
    address = parse_address(own_redis.url)
    blocking = open_connection(address, time.monotonic() + DEADLINE_S)

    async def demoted() -> bool:
        connection = await Connection.connect(address, DEADLINE_S)
        redis_call(own_redis.port, "REPLICAOF", "127.0.0.1", free_port())
        with pytest.raises(ReplyError, match="READONLY"):
            await connection.call("SET", "a", 1)
        return not connection.is_open

    assert asyncio.run(demoted())
    (reply,) = blocking.call(pack("SET", "a", 1), 1, time.monotonic() + DEADLINE_S)
    assert reply.code == "READONLY"
    assert not blocking.is_open
    with PrivateSentinel(own_redis) as sentinel:
        url = f"sentinel://127.0.0.1:{sentinel.port}"
        app = Celeriac("shop", broker=url, publish_timeout_s=0.5, **WITH_SENTINELS)
        with pytest.raises(BrokerUnavailable, match=f"says 127.0.0.1:{own_redis.port}, but that is a replica"):
            app.send_task("any")
        app.close()


def test_one_sentinel_of_three_is_enough_and_none_is_told_in_time(servers: PrivateSentinels) -> None:
    app = sentinel_app(servers, publish_timeout_s=5.0)
    frozen, silent = servers.sentinels[:2]
    frozen.freeze()
    silent.kill()
    app.send_task("any", queue="few")
    app.close()
    urls = ";".join(f"sentinel://127.0.0.1:{sentinel.port}" for sentinel in (frozen, silent))
    unlucky = Celeriac("shop", broker=urls, publish_timeout_s=1.0, **WITH_SENTINELS)
    with pytest.raises(BrokerUnavailable, match=f"Sentinel 127.0.0.1:{silent.port}"):
        unlucky.send_task("any", queue="few")
    unlucky.close()
    frozen.thaw()
    silent.start()


def test_a_name_that_no_sentinel_knows_is_told(servers: PrivateSentinels) -> None:
    app = Celeriac("shop", broker=servers.url, publish_timeout_s=0.5, broker_transport_options={"master_name": "other"})
    with pytest.raises(BrokerUnavailable, match=r"knows no master 'other' \(master_name\)"):
        app.send_task("any")
    app.close()


@pytest.mark.timeout(1200)
@pytest.mark.skipif(not LONG, reason="takes minutes: set CELERIAC_LONG_FAILOVERS")
@pytest.mark.parametrize("durability", ["none", "replica"])
@pytest.mark.parametrize("harm", ["kill", "freeze"])
def test_ten_failovers_under_load(servers: PrivateSentinels, guard: Guard, durability: str, harm: str) -> None:
    """Tells how much is lost; none with replicas."""
    scene = make_scene(servers, guard, redis_durability=durability)
    scene.worker("-c", "2")
    with Sender(scene, pause_s=0.05) as sender:
        for _ in range(10):
            sender.until_accepted(20)
            old = servers.master()
            old.kill() if harm == "kill" else old.freeze()
            servers.wait_for_failover(old)
            if harm == "freeze":
                old.thaw()  # takes itself for the master until the Sentinels tell it
                servers.wait_for_replica()
            else:
                servers.bring_back(old)
        sender.until_accepted(20)
    scene.until(lambda: scene.acknowledged(), "nothing is ready or claimed any more")
    tell(f"10 times {harm}, durability={durability}", scene, sender)
    if durability == "replica":
        assert not scene.journal.missing(sender.accepted)
    scene.close()
    scene.app.close()


def tell(what: str, scene: Scene, sender: Sender) -> None:
    """Print the count, for whoever reads it with -s."""
    ends = {key: scene.journal.ends(key) for key in sender.accepted}
    lost = [key for key, times in ends.items() if not times]
    print(
        f"{what}: accepted {len(ends)}, completed {len(ends) - len(lost)}, lost {len(lost)} {lost[:20]},"
        f" done again {sum(times - 1 for times in ends.values() if times > 1)}, parked {scene.depth().dead},"
        f" outcome unknown {len(sender.unknown)} (of them done {sum(bool(scene.journal.ends(k)) for k in sender.unknown)}),"
        f" refused {len(sender.refused)}"
    )


# -- durability -------------------------------------------------------------------------------------------------------


def test_what_no_replica_has_is_lost_with_the_master_and_is_not_accepted_with_durability(
    servers: PrivateSentinels,
) -> None:
    trusting = sentinel_app(servers)
    patient = sentinel_app(servers, redis_durability="replica", redis_durability_timeout_s=20.0)
    hurried = sentinel_app(servers, redis_durability="replica", redis_durability_timeout_s=0.1)
    trusting.send_task("any", queue="trusted")
    patient.send_task("any", queue="confirmed")  # and so what was written before it
    cut_replication(servers)
    for _ in range(3):
        trusting.send_task("any", queue="trusted")  # accepted, and lost
        with pytest.raises(PublishTimeout, match="0 of 1 replicas confirmed"):
            hurried.send_task("any", queue="confirmed")
    assert [redis_call(servers.master().port, "LLEN", queue) for queue in ("trusted", "confirmed")] == [4, 4]
    kill_master(servers)
    assert [redis_call(servers.master().port, "LLEN", queue) for queue in ("trusted", "confirmed")] == [1, 1]
    for app in (trusting, patient, hurried):
        app.close()


def test_a_worker_without_replicas_goes_on_and_says_so(servers: PrivateSentinels, caplog: Any) -> None:
    patient = sentinel_app(servers, redis_durability="replica", redis_durability_timeout_s=20.0)
    app = sentinel_app(servers, redis_durability="replica", redis_durability_timeout_s=0.1)

    @app.task
    def second() -> str:
        return "second"

    @app.task(acks_late=False)
    def first() -> str:  # acknowledged as it begins: what follows from its end is sent by itself
        return "first"

    result = (patient.signature(first.name) | patient.signature(second.name, immutable=True)).delay()
    cut_replication(servers)
    with EmbeddedWorker(app, threads=2):
        assert result.get(timeout=DEADLINE_S) == "second"
    assert "message(s) that follow from tasks, but 0 of 1 replicas confirmed" in caplog.text
    assert "took results, but 0 of 1 replicas confirmed" in caplog.text
    app.close()
    patient.close()
    servers.replica().thaw()
    servers.wait_for_replica()


def test_a_redis_that_cannot_wait_for_its_disk_says_so_before_anything_is_sent(servers: PrivateSentinels) -> None:
    version = str(redis_call(servers.master().port, "INFO", "server")).partition("redis_version:")[2].split()[0]
    if tuple(map(int, version.split("."))) >= (7, 2):
        pytest.skip(f"Redis {version} has WAITAOF")
    app = sentinel_app(servers, redis_durability="fsync")
    with pytest.raises(OperationalError, match=r"has no WAITAOF; redis_durability='fsync' needs Redis 7\.2"):
        app.send_task("any", queue="fsync")
    with pytest.raises(OperationalError, match="has no WAITAOF"), EmbeddedWorker(app, threads=1):
        pass
    app.close()
    assert redis_call(servers.master().port, "EXISTS", "fsync") == 0

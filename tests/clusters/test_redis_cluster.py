"""Redis Cluster: all keys of a program on one node, which is found again when another takes its place."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from celeriac import Celeriac, chord
from celeriac.exceptions import OperationalError
from celeriac.torture.servers.redis_call import redis_call
from celeriac.torture.servers.redis_cluster import PrivateCluster
from celeriac.torture.servers.service import wait_until
from celeriac.transports.redis.cluster import PREFIX, key_slot
from celeriac.worker.worker import EmbeddedWorker

pytestmark = pytest.mark.redis

DEADLINE_S = 60.0
SLOT = key_slot(PREFIX)


@pytest.fixture(scope="module")
def cluster(needs_redis: None) -> Iterator[PrivateCluster]:
    """Three masters, each with a replica; each test leaves them whole."""
    with PrivateCluster() as started:
        yield started


def make_app(cluster: PrivateCluster) -> Celeriac:
    """A program with everything in the cluster."""
    return Celeriac(
        "shop",
        broker=cluster.url,
        backend=cluster.url,
        publish_timeout_s=30.0,
        worker_lease_s=5.0,
        worker_heartbeat_s=0.5,
        redis_durability="replica",
        redis_durability_timeout_s=20.0,
    )


def keys_of(cluster: PrivateCluster) -> set[str]:
    """Every key on any node."""
    return {key for node in cluster.nodes for key in redis_call(node.port, "KEYS", "*")}


def test_a_url_of_one_server_does_for_no_cluster(cluster: PrivateCluster) -> None:
    for node in cluster.nodes[:2]:
        app = Celeriac("shop", broker=f"redis://127.0.0.1:{node.port}")
        with pytest.raises(OperationalError, match=r"is a cluster: .*write rediscluster:// in the URL"):
            app.send_task("any")
        app.close()
        with pytest.raises(OperationalError, match="is a cluster"):
            asyncio.run(app.broker.consumer().open("worker@0", ["q"]))


def test_everything_works_on_one_slot_and_goes_on_when_its_node_changes(cluster: PrivateCluster) -> None:
    app = make_app(cluster)

    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    @app.task
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(unique=True, max_concurrency=1)
    def only(x: int) -> int:
        return x

    def use_all() -> None:
        assert add.delay(1, 2).get(timeout=DEADLINE_S) == 3
        assert chord([add.s(n, n) for n in range(3)], total.s()).delay().get(timeout=DEADLINE_S) == 6
        assert only.delay(7).get(timeout=DEADLINE_S) == 7
        assert add.apply_async((2, 3), countdown=0.2).get(timeout=DEADLINE_S) == 5
        app.control.revoke("nobody's", terminate=False)
        wait_until(answers, "the worker answers", deadline_s=DEADLINE_S)

    def answers() -> bool:
        try:
            return bool(app.control.ping(limit=1))
        except OperationalError:  # the old master was asked
            return False

    with EmbeddedWorker(app, threads=2):
        use_all()
        assert {key_slot(key) for key in keys_of(cluster)} == {SLOT}

        # Master and replica change places in good order: the old one sends everybody on (MOVED).
        old = cluster.owner(SLOT)
        replica = next(node for node in cluster.nodes if f"master_port:{old.port}" in _replication(node.port))
        redis_call(replica.port, "CLUSTER", "FAILOVER")
        cluster.wait_for_failover(SLOT, old)
        wait_until(cluster.is_whole, "the cluster is whole", deadline_s=DEADLINE_S)
        use_all()

        # The master dies while a task waits.
        waits = add.apply_async((3, 4), countdown=1)
        old = cluster.owner(SLOT)
        old.kill()
        cluster.wait_for_failover(SLOT, old)
        old.start()
        wait_until(cluster.is_whole, "the cluster is whole", deadline_s=DEADLINE_S)
        assert waits.get(timeout=DEADLINE_S) == 7
        use_all()
    app.close()


def _replication(port: int) -> str:
    return str(redis_call(port, "INFO", "replication"))

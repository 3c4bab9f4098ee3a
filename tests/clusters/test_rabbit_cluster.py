"""A RabbitMQ cluster loses nodes and links while it is used: whatever was accepted is done, and every call ends in time.

What takes long runs with CELERIAC_CLUSTERS=1 only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from celeriac import Celeriac
from celeriac.torture.servers.rabbit_cluster import ClusterNode, PrivateRabbitCluster
from celeriac.torture.servers.service import wait_until
from tests.clusters.traffic import DEADLINE_S, DELAYS, IN_FLIGHT, Traffic

long = pytest.mark.skipif("CELERIAC_CLUSTERS" not in os.environ, reason="takes long: CELERIAC_CLUSTERS=1 runs it")
pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def cluster(needs_rabbit: None) -> Iterator[PrivateRabbitCluster]:
    with PrivateRabbitCluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def vhost(cluster: PrivateRabbitCluster) -> str:
    return cluster.vhost()


def leader_first(cluster: PrivateRabbitCluster, vhost: str, queue: str) -> tuple[ClusterNode, str]:
    """Make the queue; return its leader, and a URL that begins with it: whoever uses it is there."""
    maker = Celeriac("maker", broker=cluster.url(vhost), broker_native_delayed_delivery_queue_type=DELAYS)
    admin = maker.broker.admin()
    admin.declare([queue])
    admin.close()
    leader = cluster.leader(vhost, queue)
    assert leader is not None
    return leader, cluster.url(vhost, leader, *[node for node in cluster.nodes if node is not leader])


def test_the_leader_of_a_queue_is_killed_while_everything_uses_it(cluster: PrivateRabbitCluster, vhost: str) -> None:
    leader, url = leader_first(cluster, vhost, "killed")
    assert cluster.members(vhost, "killed") == 3
    with Traffic(url, "killed") as traffic:
        traffic.goes_on()
        leader.kill()
        traffic.goes_on()  # over the next node
        assert cluster.leader(vhost, "killed") is not leader
        cluster.start_missing()
        traffic.goes_on()
        lost, extra = traffic.count()
    assert lost == 0
    assert extra <= IN_FLIGHT


@long
def test_without_a_majority_calls_end_with_a_typed_error_and_work_goes_on_afterwards(
    cluster: PrivateRabbitCluster, vhost: str
) -> None:
    leader, url = leader_first(cluster, vhost, "alone")
    with Traffic(url, "alone") as traffic:
        traffic.goes_on()
        for node in cluster.nodes:
            if node is not leader:
                node.kill()
        unknown = len(traffic.unknown)
        wait_until(lambda: len(traffic.unknown) > unknown + 1, "nothing is confirmed", deadline_s=DEADLINE_S)
        cluster.start_missing()
        traffic.goes_on()
        lost, extra = traffic.count()
    assert lost == 0
    # Each call of unknown outcome is one message, so what ran twice had been in the worker's hands.
    assert extra <= IN_FLIGHT


@long
def test_a_node_freezes(cluster: PrivateRabbitCluster, vhost: str) -> None:
    leader, url = leader_first(cluster, vhost, "frozen")
    with Traffic(url, "frozen") as traffic:
        traffic.goes_on()
        leader.freeze()
        try:
            traffic.goes_on(4 * DEADLINE_S)  # RabbitMQ itself gives a node a minute before it believes that it is gone
        finally:
            leader.thaw()
        lost, extra = traffic.count()
    assert lost == 0
    assert extra <= 2 * IN_FLIGHT
    leader.restart()  # the nodes would hold it against each other that they had lost sight
    wait_until(cluster.is_whole, "the nodes are one cluster again", deadline_s=2 * DEADLINE_S)


@long
def test_a_link_is_cut_and_the_smaller_side_pauses(cluster: PrivateRabbitCluster, vhost: str) -> None:
    handling = "application:set_env(rabbit, cluster_partition_handling, {})."
    for node in cluster.nodes:
        node.evaluate(handling.format("pause_minority"))
    leader, url = leader_first(cluster, vhost, "cut")
    try:
        with Traffic(url, "cut") as traffic:
            traffic.goes_on()
            cluster.cut_off(leader)
            traffic.goes_on()
            cluster.restore()
            wait_until(cluster.is_whole, "the nodes are one cluster again", deadline_s=2 * DEADLINE_S)
            traffic.goes_on()
            lost, extra = traffic.count()
    finally:
        cluster.restore()
        for node in cluster.nodes:
            node.evaluate(handling.format("ignore"))
    assert lost == 0
    assert extra <= IN_FLIGHT

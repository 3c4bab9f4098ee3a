"""A private Redis Cluster: three masters, each with a replica."""

from __future__ import annotations

import contextlib
from typing import Final

from celeriac.torture.servers.redis import PrivateRedis
from celeriac.torture.servers.redis_call import redis_call, redis_info
from celeriac.torture.servers.redis_sentinel import REPLICATION
from celeriac.torture.servers.service import HOST, Service, Startable, free_port, wait_until

MASTERS: Final = 3
SLOTS: Final = 16384
NODE_TIMEOUT_MS: Final = 800
DEADLINE_S: Final = 60.0


class ClusterNode(PrivateRedis):
    """One node of a cluster; it keeps what it knows of the others in its directory."""

    name = "redis-node"

    def __init__(self) -> None:
        self.bus_port = free_port()
        """Where the other nodes find it; to be given, because otherwise it is the port plus 10,000."""
        super().__init__(
            options=(
                *("--cluster-enabled", "yes", "--cluster-port", str(self.bus_port)),
                *("--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--cluster-replica-validity-factor", "0"),
                *REPLICATION,
            )
        )


class PrivateCluster(Startable):
    """Six nodes of our own.

    1. Starts them, divides the slots and returns when every node agrees.
    2. Says which node owns a slot.
    3. Tells when another node has taken a slot over from one that was killed or frozen.
    4. Leaves nothing behind on close.

    `nodes`: the first three began as masters, the others as their replicas. Every method blocks; none is thread-safe.
    """

    def __init__(self) -> None:
        self.nodes: list[ClusterNode] = []

    @property
    def url(self) -> str:
        """A URL that names all nodes."""
        return ";".join(f"rediscluster://{HOST}:{node.port}" for node in self.nodes)

    def start(self) -> None:
        """Start all nodes, and make a cluster of them."""
        for number in range(2 * MASTERS):
            node = ClusterNode()
            self.nodes.append(node)
            node.start()
            redis_call(node.port, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        first, *others = self.nodes
        for node in others:
            redis_call(node.port, "CLUSTER", "MEET", HOST, first.port, first.bus_port)
        masters, replicas = self.nodes[:MASTERS], self.nodes[MASTERS:]
        for number, node in enumerate(masters):
            edges = [SLOTS * n // MASTERS for n in (number, number + 1)]
            redis_call(node.port, "CLUSTER", "ADDSLOTSRANGE", edges[0], edges[1] - 1)
        wait_until(self._all_have_met, "the nodes know each other", deadline_s=DEADLINE_S)
        for master, replica in zip(masters, replicas, strict=True):
            redis_call(replica.port, "CLUSTER", "REPLICATE", redis_call(master.port, "CLUSTER", "MYID"))
        wait_until(self.is_whole, "the cluster is complete", deadline_s=DEADLINE_S)

    def owner(self, slot: int) -> ClusterNode:
        """The node that owns a slot, as the nodes that run see it."""
        for node in self.nodes:
            with contextlib.suppress(OSError):
                return self._node(_owner_port(node, slot))
        raise AssertionError("no node of the cluster answers")

    def wait_for_failover(self, slot: int, old: Service) -> ClusterNode:
        """Return the new owner of a slot when every node that answers names it."""
        wait_until(
            lambda: self._owners(slot, old) not in (set(), {old.port}) and len(self._owners(slot, old)) == 1,
            f"slot {slot} has another owner",
            deadline_s=DEADLINE_S,
        )
        return self._node(self._owners(slot, old).pop())

    def is_whole(self) -> bool:
        """Whether every node runs and sees all slots served, and every replica has its master's data."""
        with contextlib.suppress(OSError):
            linked = 0
            for node in self.nodes:
                if "cluster_state:ok" not in str(redis_call(node.port, "CLUSTER", "INFO", timeout_s=1)):
                    return False
                linked += redis_info(node.port, "replication", timeout_s=1).get("master_link_status") == "up"
            return linked == MASTERS
        return False

    def close(self) -> None:
        """End all nodes and remove their data. Idempotent."""
        for node in self.nodes:
            node.close()

    def _node(self, port: int) -> ClusterNode:
        return next(node for node in self.nodes if node.port == port)

    def _owners(self, slot: int, besides: Service) -> set[int]:
        ports: set[int] = set()
        for node in self.nodes:
            if node is not besides and node.running:
                with contextlib.suppress(OSError):
                    ports.add(_owner_port(node, slot))
        return ports

    def _all_have_met(self) -> bool:
        told = [str(redis_call(node.port, "CLUSTER", "NODES")) for node in self.nodes]
        return all(len(text.splitlines()) == len(self.nodes) and "handshake" not in text for text in told)


def _owner_port(node: ClusterNode, slot: int) -> int:
    for first, last, master, *_ in redis_call(node.port, "CLUSTER", "SLOTS", timeout_s=1):
        if first <= slot <= last:
            return int(master[1])
    return 0

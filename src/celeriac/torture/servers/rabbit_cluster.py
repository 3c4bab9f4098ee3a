"""A private RabbitMQ cluster of three nodes, whose links can be cut."""

from __future__ import annotations

import concurrent.futures
import secrets
from collections.abc import Collection, Sequence
from typing import Final

from celeriac.torture.servers.rabbit import PrivateRabbit
from celeriac.torture.servers.service import HERE, Location, Service, Startable, wait_until

SIZE: Final = 3
DEADLINE_S: Final = 60.0

LEADER: Final = """
    case rabbit_amqqueue:lookup({resource, <<"VHOST">>, queue, <<"QUEUE">>}) of
        {ok, Queue} -> {_, Node} = amqqueue:get_pid(Queue), atom_to_binary(Node);
        _ -> <<>>
    end.
"""
MEMBERS: Final = """
    {ok, Queue} = rabbit_amqqueue:lookup({resource, <<"VHOST">>, queue, <<"QUEUE">>}),
    integer_to_binary(length(maps:get(nodes, amqqueue:get_type_state(Queue)))).
"""
CUT: Final = "erlang:set_cookie('OTHER', 'a cut link'), erlang:disconnect_node('OTHER')."
"""Who has another cookie for a node refuses it, and is refused by it."""


class ClusterNode(PrivateRabbit):
    """One node; all of a cluster share a cookie and the port of the Erlang port mapper, those of one address also the mapper."""

    def __init__(self, *, epmd_port: int | None, cookie: str, at: Location) -> None:
        super().__init__(at=at)
        self._has_own_mapper = epmd_port is None or at != HERE
        self.epmd_port = epmd_port or self.epmd_port
        file = self.directory / ".erlang.cookie"
        file.chmod(0o600)
        file.write_text(cookie)
        file.chmod(0o400)

    def configure(self, lines: str) -> None:
        """Add lines to its rabbitmq.conf; before it is first started."""
        with (self.directory / "rabbitmq.conf").open("a") as file:
            file.write(f"{lines}\n")

    def start(self) -> None:
        """Start it, the port mapper before the first."""
        if self._has_own_mapper:
            super().start()
        else:
            Service.start(self)

    def _environment(self) -> dict[str, str]:
        found = super()._environment()
        # Erlang would cut more links where one is cut, so that no two nodes disagree about a third.
        found["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"] += " -kernel prevent_overlapping_partitions false"
        return found


class PrivateRabbitCluster(Startable):
    """Three nodes of our own.

    1. Starts them, all at once, and joins them to one cluster.
    2. Says where a queue's leader is.
    3. Cuts the links between nodes, and restores them.
    4. Leaves nothing behind on close.

    config: further lines of rabbitmq.conf, as in "cluster_partition_handling = pause_minority".  at: where each node is.  Every
    method blocks; none is thread-safe.
    """

    def __init__(self, *, config: str = "", at: Sequence[Location] = (HERE,) * SIZE) -> None:
        self._cookie = secrets.token_hex(16)
        first = ClusterNode(epmd_port=None, cookie=self._cookie, at=at[0])
        others = [ClusterNode(epmd_port=first.epmd_port, cookie=self._cookie, at=place) for place in at[1:]]
        self.nodes = [first, *others]
        lines = [f"cluster_formation.classic_config.nodes.{n} = {node.node}" for n, node in enumerate(self.nodes)]
        for node in self.nodes:
            node.configure("\n".join(["cluster_formation.peer_discovery_backend = classic_config", *lines, config]))

    @property
    def running(self) -> list[ClusterNode]:
        """The nodes whose processes are alive."""
        return [node for node in self.nodes if node.running]

    def running_but(self, addresses: Collection[str]) -> ClusterNode:
        """A node whose process is alive, and that is at none of these addresses."""
        return next(node for node in self.running if node.at.address not in addresses)

    def start(self) -> None:
        """Start all nodes and make a cluster of them."""
        self.nodes[0].start_mapper()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(pool.map(lambda node: node.start(), self.nodes))
        wait_until(lambda: self.is_whole(), "the nodes are one cluster", deadline_s=DEADLINE_S)

    def start_missing(self) -> None:
        """Start those nodes again that were stopped or killed, and return when all see each other."""
        missing = [node for node in self.nodes if not node.running]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(pool.map(lambda node: node.start(), missing))
        wait_until(lambda: self.is_whole(), "the nodes are one cluster again", deadline_s=DEADLINE_S)

    def close(self) -> None:
        """Kill all nodes and remove their data. Idempotent."""
        for node in reversed(self.nodes):  # the first has the port mapper
            node.close()

    def is_whole(self) -> bool:
        """Whether every node sees that RabbitMQ runs on all of them."""
        running = "integer_to_binary(length(rabbit_nodes:all_running()))."
        return all(node.running and node.evaluate(running) == str(SIZE) for node in self.nodes)

    def vhost(self) -> str:
        """The name of a new vhost, in which the user `guest` may do everything."""
        return self.running[0].vhost()

    def url(self, vhost: str, *nodes: ClusterNode) -> str:
        """The URL of a vhost with some nodes, or all of them, to be tried in turn."""
        return ";".join(node.vhost_url(vhost) for node in nodes or self.nodes)

    def leader(self, vhost: str, queue: str, but: Collection[str] = ()) -> ClusterNode | None:
        """The node on which a queue's leader is, as a running node sees it that is at none of the addresses `but`; None while the
        queue does not exist.
        """
        name = self.running_but(but).evaluate(LEADER.replace("VHOST", vhost).replace("QUEUE", queue))
        return next((node for node in self.nodes if node.node == name), None)

    def members(self, vhost: str, queue: str) -> int:
        """On how many nodes a quorum queue is."""
        return int(self.running[0].evaluate(MEMBERS.replace("VHOST", vhost).replace("QUEUE", queue)))

    def cut_off(self, node: ClusterNode) -> None:
        """Cut all links between a node and the others; clients still reach both sides."""
        for other in self.nodes:
            if other is not node:
                node.evaluate(CUT.replace("OTHER", other.node))
                other.evaluate(CUT.replace("OTHER", node.node))

    def restore(self) -> None:
        """Restore the links between all running nodes. Idempotent."""
        for node in self.running:
            for other in self.running:
                if other is not node:
                    node.evaluate(f"erlang:set_cookie('{other.node}', list_to_atom(\"{self._cookie}\")).")
        for node in self.running:
            for other in self.running:
                if other is not node:
                    node.evaluate(f"net_kernel:connect_node('{other.node}').")

"""Places whose broker has several nodes: when the one that serves is gone, another takes its place."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from celeriac.torture.orders import QUEUE
from celeriac.torture.places import RABBITMQ, REDIS, Place
from celeriac.torture.servers.network import Link, Network
from celeriac.torture.servers.rabbit_cluster import SIZE, PrivateRabbitCluster
from celeriac.torture.servers.redis import PrivateRedis
from celeriac.torture.servers.redis_cluster import PrivateCluster
from celeriac.torture.servers.redis_sentinel import MASTER_NAME, PrivateSentinels
from celeriac.torture.servers.service import Service, wait_until
from celeriac.transports.redis.cluster import PREFIX, key_slot

DEADLINE_S: Final = 120.0
VHOST: Final = "/"


class ClusterPlace(Place):
    """A place of several nodes. `links`: one for each node where they can be cut."""

    def __init__(
        self,
        name: str,
        url: str,
        backend_url: str,
        store: Service | None,
        settings: Mapping[str, Any] | None = None,
        links: Sequence[Link] = (),
    ) -> None:
        super().__init__(name, url, backend_url, None, store, settings)
        self.links = links

    @property
    @abstractmethod
    def server(self) -> Service:
        """The node that serves now, as most others see it; on RabbitMQ any that can be asked."""

    @abstractmethod
    def leader(self) -> Service:
        """Return the node whose end makes another take its place."""

    @abstractmethod
    def wait_replaced(self, old: Service) -> None:
        """Return when another one has taken the place of `old`."""

    @abstractmethod
    def mend(self, old: Service) -> None:
        """Start `old` again where it was killed, and return when it belongs to the others again."""

    def link_of(self, node: Service) -> Link:
        """Return the link at whose end a node is."""
        return next(link for link in self.links if link.location == node.at)


class SentinelPlace(ClusterPlace):
    """A Redis with a replica, and three Sentinels."""

    def __init__(self, sentinels: PrivateSentinels, links: Sequence[Link] = ()) -> None:
        options = {"master_name": MASTER_NAME}
        settings = {"broker_transport_options": options, "result_backend_transport_options": options}
        super().__init__(REDIS, sentinels.url, sentinels.url, None, settings, links)
        self._sentinels = sentinels

    @property
    def server(self) -> Service:
        """The master."""
        return self._sentinels.master()

    def leader(self) -> Service:
        """Return the master."""
        return self.server

    def wait_replaced(self, old: Service) -> None:
        """Return when the Sentinels name another."""
        self._sentinels.wait_for_failover(old)

    def mend(self, old: Service) -> None:
        """Make it the replica."""
        self._sentinels.bring_back(old)


class RedisClusterPlace(ClusterPlace):
    """A Redis Cluster."""

    def __init__(self, cluster: PrivateCluster) -> None:
        super().__init__(REDIS, cluster.url, cluster.url, None)
        self._cluster = cluster
        self._slot = key_slot(PREFIX)

    @property
    def server(self) -> Service:
        """The owner of the slot in which all keys are."""
        return self._cluster.owner(self._slot)

    def leader(self) -> Service:
        """Return that owner."""
        return self.server

    def wait_replaced(self, old: Service) -> None:
        """Return when the slot has another owner."""
        self._cluster.wait_for_failover(self._slot, old)

    def mend(self, old: Service) -> None:
        """Start it, as a replica now."""
        old.start()
        wait_until(self._cluster.is_whole, "the cluster is whole again", deadline_s=DEADLINE_S)


class RabbitClusterPlace(ClusterPlace):
    """A RabbitMQ of three nodes; results are in a Redis of their own."""

    def __init__(self, cluster: PrivateRabbitCluster, store: PrivateRedis, links: Sequence[Link] = ()) -> None:
        super().__init__(RABBITMQ, cluster.url(VHOST), store.url, store, None, links)
        self._cluster = cluster
        self.apart: set[str] = set()
        """Addresses of nodes that can't be reached now."""

    @property
    def server(self) -> Service:
        """A node that can be asked."""
        return self._cluster.running_but(self.apart)

    def leader(self) -> Service:
        """Return the node where the queue's leader is."""
        found = self._cluster.leader(VHOST, QUEUE, self.apart)
        assert found is not None
        return found

    def urls_from(self, node: Service) -> tuple[str, str]:
        """Return two URLs of all nodes: one that begins with this node, and one that ends with it."""
        (first,) = [one for one in self._cluster.nodes if one is node]
        others = [one for one in self._cluster.nodes if one is not node]
        return self._cluster.url(VHOST, first, *others), self._cluster.url(VHOST, *others, first)

    def wait_replaced(self, old: Service) -> None:
        """Return when the queue's leader is elsewhere, as a node sees it that can be asked."""
        wait_until(lambda: self.leader() is not old, "the queue has another leader", deadline_s=DEADLINE_S)

    def mend(self, old: Service) -> None:
        """Start what is missing."""
        self._cluster.start_missing()


# -- opening them -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def open_sentinels(name: str, directory: Path) -> Iterator[Place]:
    """Start a Redis with a replica and Sentinels, in a `with` block."""
    with PrivateSentinels() as sentinels:
        yield SentinelPlace(sentinels)


@contextlib.contextmanager
def open_redis_cluster(name: str, directory: Path) -> Iterator[Place]:
    """Start a Redis Cluster, in a `with` block."""
    with PrivateCluster() as cluster:
        yield RedisClusterPlace(cluster)


@contextlib.contextmanager
def open_rabbit_cluster(name: str, directory: Path) -> Iterator[Place]:
    """Start a RabbitMQ of three nodes, in a `with` block."""
    with PrivateRabbitCluster() as cluster, PrivateRedis() as store:
        yield RabbitClusterPlace(cluster, store)


@contextlib.contextmanager
def open_with_links(name: str, directory: Path) -> Iterator[Place]:
    """Start the Redis with Sentinels, or the RabbitMQ, each node at the end of a link that can be cut, in a `with` block."""
    if name == REDIS:
        with (
            Network(2) as network,
            PrivateSentinels(at=[*(link.location for link in network.links), network.here]) as sentinels,
        ):
            yield SentinelPlace(sentinels, network.links)
    else:
        with (
            Network(SIZE) as network,
            PrivateRabbitCluster(at=[link.location for link in network.links]) as cluster,
            PrivateRedis(at=network.here) as store,
        ):
            yield RabbitClusterPlace(cluster, store, network.links)

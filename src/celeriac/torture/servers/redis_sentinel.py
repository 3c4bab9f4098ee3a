"""A private Redis with a replica, and Sentinels that make the replica master when the master is gone."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from typing import Any, Final

from celeriac.torture.servers.redis import REDIS_MISSING, PrivateRedis, find_redis
from celeriac.torture.servers.redis_call import redis_call, redis_info
from celeriac.torture.servers.service import HERE, Location, Service, ServiceError, Startable, wait_until

MASTER_NAME: Final = "shop"
SENTINELS: Final = 3
QUORUM: Final = 2
DOWN_AFTER_MS: Final = 1500
"""A master that does not answer for so long is taken for dead; below a second, Sentinels take a new one for dead at once."""
FAILOVER_TIMEOUT_MS: Final = 2000
DEADLINE_S: Final = 60.0
SENTINEL_CALL_S: Final = 2.0
"""One that can't be reached must not hold up the others."""

# A replica is filled at once, and notices and is noticed within a second.
REPLICATION: Final = (
    *("--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"),
    *("--repl-ping-replica-period", "1", "--repl-timeout", "5"),
)


class PrivateSentinel(Service):
    """One Sentinel, that watches a master."""

    name = "sentinel"

    def __init__(self, master: Service, at: Location = HERE) -> None:
        program = find_redis()
        if program is None:
            raise ServiceError(f"{REDIS_MISSING}: install Redis")
        super().__init__(at)
        self._program = program
        self._file = self.directory / "sentinel.conf"
        lines = [
            f"port {self.port}",
            f"bind {at.address}",
            "protected-mode no",
            f"dir {self.directory}",
            f"sentinel monitor {MASTER_NAME} {master.at.address} {master.port} {QUORUM}",
            f"sentinel down-after-milliseconds {MASTER_NAME} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {MASTER_NAME} {FAILOVER_TIMEOUT_MS}",
        ]
        # It keeps what it learns in this file, so a restart goes on from there.
        self._file.write_text("\n".join(lines) + "\n")

    def call(self, *words: str | int) -> Any:
        """Send it a command; see `redis_call`."""
        return redis_call(self.port, *words, timeout_s=SENTINEL_CALL_S, host=self.at.address)

    def _command(self) -> list[str]:
        return [self._program, str(self._file), "--sentinel"]

    def _answers(self, connection: socket.socket) -> bool:
        connection.sendall(b"PING\r\n")
        return connection.recv(1024) == b"+PONG\r\n"


class PrivateSentinels(Startable):
    """A master, a replica and three Sentinels of our own.

    1. Starts them and returns when each knows of all.
    2. Says who is master, as the Sentinels see it.
    3. Does harm to the master on request, and tells when another one has taken its place.
    4. Leaves nothing behind on close.

    `nodes`: the two Redis; each can be killed, frozen and started as any `Service`. Every method blocks; none is thread-safe.
    """

    def __init__(self, options: Sequence[str] = (), at: Sequence[Location] = (HERE,) * SENTINELS) -> None:
        """`options`: further command line options of both Redis.  `at`: where each Sentinel is, the master with the first and the
        replica with the second of them.
        """
        self.nodes: list[PrivateRedis] = []
        self.sentinels: list[PrivateSentinel] = []
        self._at = at
        self._options = (*REPLICATION, *options)

    @property
    def url(self) -> str:
        """The URL of database 0, as Celery writes it; the option `master_name` goes with it."""
        return self.database_url(0)

    def database_url(self, number: int) -> str:
        """The URL of one of the databases."""
        return ";".join(f"sentinel://{sentinel.at.address}:{sentinel.port}/{number}" for sentinel in self.sentinels)

    def start(self) -> None:
        """Start all, and return when the replica has its data and the Sentinels know each other."""
        master = PrivateRedis(options=self._options, at=self._at[0])
        self.nodes.append(master)
        master.start()
        following = ("--replicaof", master.at.address, str(master.port))
        replica = PrivateRedis(options=(*self._options, *following), at=self._at[1])
        self.nodes.append(replica)
        replica.start()
        self.wait_for_replica()
        for place in self._at:
            sentinel = PrivateSentinel(master, place)
            self.sentinels.append(sentinel)
            sentinel.start()
        wait_until(self._is_whole, "the Sentinels know the replica and each other", deadline_s=DEADLINE_S)

    def wait_for_replica(self) -> None:
        """Return when both Redis run, and one of them is a replica that is up to date with the other."""
        wait_until(self._has_replica, "the replica follows the master", deadline_s=DEADLINE_S)

    def master(self) -> PrivateRedis:
        """The master as most Sentinels see it that can be reached."""
        ports = self._master_ports()
        return self._node(max(set(ports), key=ports.count))

    def replica(self) -> PrivateRedis:
        """The other one."""
        master = self.master()
        return next(node for node in self.nodes if node is not master)

    def bring_back(self, node: Service) -> None:
        """Start a former master again, or thaw it, and make it the replica at once; Sentinels do that only after some 10 s."""
        master = self.master()
        node.start()
        redis_call(node.port, "REPLICAOF", master.at.address, master.port, host=node.at.address)
        self.wait_for_replica()

    def wait_for_failover(self, old: Service) -> PrivateRedis:
        """Return the new master when every Sentinel names it that can be reached, and it is one."""

        def done() -> bool:
            ports = set(self._master_ports())
            return len(ports) == 1 and ports != {old.port} and _role(self._node(ports.pop())) == "master"

        wait_until(done, "another master is chosen", deadline_s=DEADLINE_S)
        return self.master()

    def close(self) -> None:
        """End all and remove their data. Idempotent."""
        for service in (*self.sentinels, *self.nodes):
            service.close()

    def _node(self, port: int) -> PrivateRedis:
        return next(node for node in self.nodes if node.port == port)

    def _master_ports(self) -> list[int]:
        ports = []
        for sentinel in self.sentinels:
            with contextlib.suppress(OSError):
                ports.append(int(sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME)[1]))
        return ports

    def _has_replica(self) -> bool:
        with contextlib.suppress(OSError):
            told = [redis_info(node.port, "replication", timeout_s=1, host=node.at.address) for node in self.nodes]
            return any(info.get("master_link_status") == "up" for info in told) and any(
                ",state=online" in info.get("slave0", "") for info in told
            )
        return False

    def _is_whole(self) -> bool:
        for sentinel in self.sentinels:
            words = sentinel.call("SENTINEL", "MASTER", MASTER_NAME)
            known = dict(zip(words[::2], words[1::2], strict=True))
            if (known["flags"], known["num-slaves"], known["num-other-sentinels"]) != (
                "master",
                "1",
                str(SENTINELS - 1),
            ):
                return False
        return True


def _role(node: PrivateRedis) -> str:
    try:
        return str(redis_info(node.port, "replication", timeout_s=1, host=node.at.address).get("role"))
    except OSError:
        return ""

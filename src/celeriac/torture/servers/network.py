"""Links that can be cut: network namespaces of this machine, joined by a bridge.  They take root and iproute2."""

from __future__ import annotations

import contextlib
import random
import secrets
import subprocess
from collections.abc import Sequence

from celeriac.torture.servers.service import HERE, Location, Reaper, ServiceError, Startable, find_program

NETWORK = "198.18.{}"
"""Addresses that are set aside for tests of networks (RFC 2544), so that no real one is in their way; 24 bits of them are one network."""
PREFIX_BITS = 24
CALL_DEADLINE_S = 20.0


class Link:
    """A namespace, and the cable between it and all others.

    `location` is for servers and programs that are to be at its end.
    """

    def __init__(self, name: str, cable: str, address: str) -> None:
        self.location = Location(address, ("ip", "netns", "exec", name))
        self.name = name
        self.cable = cable
        """Its plug on the side of the bridge."""

    def cut(self) -> None:
        """Pull the cable: nothing passes any more, and nobody is told. Idempotent."""
        _ip("link", "set", self.cable, "down")

    def restore(self) -> None:
        """Plug it in again. Idempotent."""
        _ip("link", "set", self.cable, "up")


class Network(Startable):
    """A network of our own.

    1. Makes a bridge, and so many namespaces with a link to it each.
    2. Cuts links, and restores them.
    3. Leaves none of them behind on close, nor when this process is killed.

    `here`: where on this network those are who are in no namespace.  Every method blocks; none is thread-safe.
    Raises `ServiceError` where namespaces can't be made.
    """

    def __init__(self, links: int) -> None:
        if find_program("ip") is None:
            raise ServiceError("ip not found: install iproute2")
        mark = secrets.token_hex(3)
        network = NETWORK.format(random.randrange(256))
        self._bridge = f"cel{mark}"
        self.here = Location(f"{network}.1", HERE.before)
        self.links = [
            Link(f"celeriac-{mark}-{number}", f"cel{mark}p{number}", f"{network}.{number + 2}")
            for number in range(links)
        ]
        namespaces = [f"ip netns delete {link.name}" for link in self.links]
        self._reaper = Reaper(None, "; ".join([*namespaces, f"ip link delete {self._bridge}"]))

    def start(self) -> None:
        """Make all of it."""
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("address", "add", f"{self.here.address}/{PREFIX_BITS}", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        for link in self.links:
            inside = ("-netns", link.name)
            _ip("netns", "add", link.name)
            _ip("link", "add", link.cable, "type", "veth", "peer", "name", "eth0", "netns", link.name)
            _ip("link", "set", link.cable, "master", self._bridge, "up")
            _ip(*inside, "address", "add", f"{link.location.address}/{PREFIX_BITS}", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip(*inside, "link", "set", device, "up")

    def close(self) -> None:
        """Remove all of it; what still runs in a namespace keeps it, without a link. Idempotent."""
        self._reaper.close()


def why_no_links() -> str:
    """Say why this process can make no links that can be cut; empty when it can."""
    with contextlib.suppress(ServiceError):
        with Network(1):
            return ""
    return "links can be cut only where `ip netns` and `ip link` may be used: as root, on Linux, with iproute2"


def _ip(*words: str) -> None:
    command: Sequence[str] = ("ip", *words)
    done = subprocess.run(command, capture_output=True, text=True, timeout=CALL_DEADLINE_S, check=False)
    if done.returncode != 0:
        raise ServiceError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")

"""Links are cut and restored, and nothing of them stays behind; only where this process may make namespaces."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from celeriac.torture.servers.network import Network, why_no_links
from celeriac.torture.servers.service import Location, wait_until

pytestmark = pytest.mark.skipif(bool(why_no_links()), reason="namespaces can't be made here")
PORT = 10_000
SILENCE_S = 0.3
PATIENCE_S = 30.0
ECHO = """
import socket, sys
listening = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
connection, _ = listening.accept()
while data := connection.recv(100):
    connection.sendall(data)
"""
OWNER = """
import sys
from celeriac.torture.servers.network import Network
with Network(1) as network:
    print(network.links[0].name, network.links[0].cable, flush=True)
    sys.stdin.read()
"""


@contextmanager
def echo(at: Location) -> Iterator[socket.socket]:
    """Have a server somewhere that says back what it hears, and a connection to it."""
    command = [*at.before, sys.executable, "-c", ECHO, at.address, str(PORT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        with socket.create_connection((at.address, PORT), timeout=PATIENCE_S) as connection:
            yield connection
        server.kill()


def exists(name: str) -> bool:
    """Tell whether there is a namespace, or a device, of this name."""
    listed = [subprocess.run(["ip", *words], capture_output=True, text=True).stdout for words in (["netns"], ["link"])]
    return any(name in text for text in listed)


def test_what_is_sent_over_a_cut_link_arrives_when_it_is_restored() -> None:
    with Network(2) as network, echo(network.links[0].location) as cut, echo(network.links[1].location) as whole:
        for connection in (cut, whole):
            connection.sendall(b"before")
            assert connection.recv(100) == b"before"
        network.links[0].cut()
        cut.sendall(b"kept")
        cut.settimeout(SILENCE_S)
        with pytest.raises(TimeoutError):
            cut.recv(100)
        whole.sendall(b"meanwhile")
        assert whole.recv(100) == b"meanwhile"
        network.links[0].restore()
        cut.settimeout(PATIENCE_S)
        assert cut.recv(100) == b"kept"
    assert not exists(network.links[0].name)


def test_nothing_is_left_of_a_network_whose_owner_was_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        namespace, cable = owner.stdout.readline().split()
        assert exists(namespace)
        assert exists(cable)
        owner.send_signal(signal.SIGKILL)
    wait_until(lambda: not exists(namespace) and not exists(cable), "namespace and device are gone")

"""Private Redis and RabbitMQ servers for tests: own free ports, own directory, nothing left when the tests are gone.

    with PrivateRedis() as redis:
        ...                    # redis.url; redis.kill(); redis.start(); redis.freeze(); redis.thaw()

Most tests want the shared ones of conftest.py instead: the fixtures `redis_url` and `rabbit_url`.
"""

from __future__ import annotations

import itertools
import os
import secrets
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.service import HOST, Service, ServiceError, find_program, free_port, wait_until

__all__ = [
    "RABBIT_MISSING",
    "REDIS_MISSING",
    "VHOSTS_PER_CALL",
    "PrivateRabbit",
    "PrivateRedis",
    "ServiceError",
    "find_rabbit",
    "find_redis",
    "free_port",
    "wait_until",
]

CTL_DEADLINE_S = 60.0
VHOSTS_PER_CALL = 10

REDIS_MISSING = "redis-server not found"
RABBIT_MISSING = "rabbitmq-server not found"


@dataclass(frozen=True)
class RabbitPrograms:
    """Where the programs of RabbitMQ and Erlang are."""

    server: str
    ctl: str
    epmd: str


def find_redis() -> str | None:
    """The path of redis-server, or None."""
    return find_program("redis-server")


def find_rabbit() -> RabbitPrograms | None:
    """The paths of RabbitMQ's programs, or None if one is missing."""
    # Debian's own rabbitmq-server in /usr/sbin is a wrapper that changes user and directory: the plain script is wanted.
    server, ctl = (find_program(name, first="/usr/lib/rabbitmq/bin") for name in ("rabbitmq-server", "rabbitmqctl"))
    epmd = find_program("epmd") or next(map(str, Path("/usr/lib/erlang").glob("erts-*/bin/epmd")), None)
    return RabbitPrograms(server, ctl, epmd) if server and ctl and epmd else None


class PrivateRedis(Service):
    """A Redis of our own, that writes every command to its append-only file before it answers.

    options: further command line options, as in ("--maxmemory", "2mb").
    password: what clients must give; it stands in `url`.
    """

    name = "redis"
    databases = 16

    def __init__(self, *, options: Sequence[str] = (), password: str | None = None) -> None:
        program = find_redis()
        if program is None:
            raise ServiceError(f"{REDIS_MISSING}: install Redis, or run `make test` as root")
        super().__init__()
        self._program = program
        self._options = [*options, *(["--requirepass", password] if password is not None else [])]
        self._password = password
        self._database_numbers = itertools.cycle(range(self.databases))

    @property
    def url(self) -> str:
        """The URL of database 0."""
        return self.database_url(0)

    def database_url(self, number: int) -> str:
        """The URL of one of the 16 databases. Beware: publish/subscribe channels are shared by them all."""
        user = f":{self._password}@" if self._password is not None else ""
        return f"redis://{user}{HOST}:{self.port}/{number}"

    def fresh_url(self) -> str:
        """The URL of the next database in turn, emptied."""
        number = next(self._database_numbers)
        with socket.create_connection((HOST, self.port), timeout=10) as connection:
            self._call(connection, f"SELECT {number}")
            self._call(connection, "FLUSHDB")
        return self.database_url(number)

    def _command(self) -> list[str]:
        persistence = ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]
        place = ["--bind", HOST, "--port", str(self.port), "--dir", str(self.directory)]
        return [self._program, *place, *persistence, "--databases", str(self.databases), *self._options]

    def _answers(self, connection: socket.socket) -> bool:
        return self._call(connection, "PING") == "+PONG"  # else it is still loading its data, and says so

    def _call(self, connection: socket.socket, command: str) -> str:
        if self._password is not None:
            connection.sendall(f"AUTH {self._password}\r\n".encode())
            connection.recv(1024)
        connection.sendall(f"{command}\r\n".encode())
        return connection.recv(1024).decode().strip()


class PrivateRabbit(Service):
    """A RabbitMQ node of our own, with an Erlang port mapper, cookie and data directory of its own.

    It can not meet another node of this machine: it asks only its own port mapper. No plugins are enabled.
    Starting takes some seconds: share one (fixture `rabbit_server`) wherever a test does not harm it.

    config: further lines of rabbitmq.conf, as in "consumer_timeout = 5000".
    """

    name = "rabbitmq"

    def __init__(self, *, config: str = "") -> None:
        programs = find_rabbit()
        if programs is None:
            raise ServiceError(f"{RABBIT_MISSING}: install RabbitMQ, or run `make test` as root")
        super().__init__()
        self._programs = programs
        self.node = f"celeriac-{secrets.token_hex(4)}@localhost"
        self.epmd_port = free_port()
        self._distribution_port = free_port()
        self._epmd: subprocess.Popen[bytes] | None = None
        self._vhost_names = (f"test-{number}" for number in itertools.count(1))
        self._spare_vhosts: Iterator[str] = iter(())
        self._retired_vhosts: list[str] = []
        self._write_configuration(config)

    @property
    def url(self) -> str:
        """The URL of the vhost `/`."""
        return self.vhost_url("/")

    def vhost_url(self, vhost: str) -> str:
        """The URL of a vhost."""
        return f"amqp://guest:guest@{HOST}:{self.port}/{vhost}"

    def start(self) -> None:
        if self._epmd is None:
            self._epmd = self._spawn([self._programs.epmd, "-port", str(self.epmd_port), "-address", HOST])
        super().start()

    def close(self) -> None:
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None
        super().close()

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl with these arguments (about a second) and return what it printed."""
        done = subprocess.run(
            [self._programs.ctl, "--quiet", *arguments],
            cwd=self.directory,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CTL_DEADLINE_S,
        )
        if done.returncode != 0:
            raise ServiceError(f"rabbitmqctl {arguments[0]} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def stop_app(self) -> None:
        """Stop RabbitMQ but not its node: connections are closed, and new ones refused."""
        self.ctl("stop_app")

    def start_app(self) -> None:
        """Start RabbitMQ in a node where it was stopped, and return when it answers."""
        self.ctl("start_app")
        self.start()

    def vhost(self) -> str:
        """The name of a new vhost, in which the user `guest` may do everything."""
        vhost = next(self._spare_vhosts, None)
        if vhost is None:
            names = list(itertools.islice(self._vhost_names, VHOSTS_PER_CALL))
            self._exchange_vhosts(names)
            self._spare_vhosts = iter(names)
            vhost = next(self._spare_vhosts)
        return vhost

    def fresh_url(self) -> str:
        """The URL of a new vhost."""
        return self.vhost_url(self.vhost())

    def retire(self, vhost: str) -> None:
        """Say that a vhost is no longer needed: it is deleted some time later."""
        self._retired_vhosts.append(vhost)

    def _exchange_vhosts(self, new: Sequence[str]) -> None:
        # rabbitmqctl takes a second to start whatever it does, so all is done in one call.
        old, self._retired_vhosts = self._retired_vhosts, []
        self.ctl(
            "eval",
            f"""
            [rabbit_vhost:delete(Name, <<"tests">>) || Name <- {_erlang_list(old)}],
            [begin
                ok = rabbit_vhost:add(Name, <<"tests">>),
                ok = rabbit_auth_backend_internal:set_permissions(
                    <<"guest">>, Name, <<".*">>, <<".*">>, <<".*">>, <<"tests">>)
            end || Name <- {_erlang_list(new)}].
            """,
        )

    def _write_configuration(self, config: str) -> None:
        (self.directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.local = {HOST}:{self.port}\n"
            "disk_free_limit.absolute = 50MB\n"
            "vm_memory_high_watermark.absolute = 1GB\n"
            f"{config}\n"
        )
        (self.directory / "conf.d").mkdir()
        (self.directory / "advanced.config").write_text("[].\n")
        (self.directory / "rabbitmq-env.conf").touch()
        (self.directory / "enabled_plugins").write_text("[].\n")
        # The node reads the attributes of all plugins it sees, enabled or not: that is a second and a half of each
        # start. So it sees none but itself, which it needs for the schema of its configuration.
        (self.directory / "plugins").mkdir()
        for itself in (Path(self._programs.server).resolve().parent.parent / "plugins").glob("rabbit-*"):
            (self.directory / "plugins" / itself.name).symlink_to(itself)
        cookie = self.directory / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)

    def _environment(self) -> dict[str, str]:
        # Settings of a node that this machine may run otherwise must not reach ours.
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("RABBITMQ_", "ERL_"))}
        loopback_only = "-kernel inet_dist_use_interface {127,0,0,1}"
        ctl_port = free_port()
        return inherited | {
            "HOME": str(self.directory),  # where Erlang looks for its cookie
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(self.epmd_port),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.directory / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(self.directory / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(self.directory / "conf.d"),
            "RABBITMQ_CTL_DIST_PORT_MAX": str(ctl_port),
            "RABBITMQ_CTL_DIST_PORT_MIN": str(ctl_port),
            "RABBITMQ_CTL_ERL_ARGS": loopback_only,
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.directory / "generated"),
            "RABBITMQ_LOG_BASE": str(self.directory),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_MNESIA_BASE": str(self.directory / "data"),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_PID_FILE": str(self.directory / "pid"),
            "RABBITMQ_PLUGINS_DIR": str(self.directory / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": loopback_only,
            "RUNNING_UNDER_SYSTEMD": "true",  # makes the script become the node instead of waiting for it
        }

    def _command(self) -> list[str]:
        return [self._programs.server]

    def _processes(self) -> list[subprocess.Popen[bytes]]:
        return [process for process in (self._server, self._epmd) if process is not None]

    def _answers(self, connection: socket.socket) -> bool:
        # The listener opens last of all: a node that offers its mechanisms has its queues back.
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        start_method = b"\x00\x0a\x00\x0a"
        return connection.recv(11)[7:] == start_method


def _erlang_list(names: Sequence[str]) -> str:
    return "[" + ", ".join(f'<<"{name}">>' for name in names) + "]"

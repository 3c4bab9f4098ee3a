"""A private RabbitMQ, and what is asked of its inside in Erlang."""

from __future__ import annotations

import itertools
import os
import secrets
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from celeriac.torture.servers.erlang_door import ErlangDoor, erlang_address
from celeriac.torture.servers.service import (
    HERE,
    Location,
    Service,
    ServiceError,
    find_program,
    free_port,
)

RABBIT_MISSING = "rabbitmq-server not found"
CTL_DEADLINE_S = 60.0
FIRST_LIBRARIES = (
    *("rabbit", "rabbit_common", "ra", "cuttlefish", "rabbitmq_prelaunch", "ranch", "osiris", "syslog", "jsx"),
    *("ssl", "inets", "compiler", "xmerl", "mnesia", "tools", "public_key", "syntax_tools"),
)
"""RabbitMQ's and Erlang's: where a node that starts finds most of its modules."""

LENGTHS = """
    << <<Name/binary, " ", (integer_to_binary(Messages))/binary, "\\n">>
       || [{name, {resource, _, queue, Name}}, {messages, Messages}]
          <- rabbit_amqqueue:info_all(<<"VHOST">>, [name, messages]) >>.
"""
UNSETTLED = """
    case rabbit_amqqueue:lookup({resource, <<"VHOST">>, queue, <<"QUEUE">>}) of
        {error, not_found} -> 0;
        {ok, Queue} ->
            case amqqueue:get_type(Queue) of
                rabbit_quorum_queue ->  % its own numbers are five seconds old
                    {ok, {_, Count}, _} = ra:local_query(amqqueue:get_pid(Queue), fun rabbit_fifo:query_messages_total/1),
                    Count;
                _ ->
                    [{messages, Count}] = rabbit_amqqueue:info(Queue, [messages]),
                    Count
            end
    end.
"""


@dataclass(frozen=True)
class RabbitPrograms:
    """Where the programs of RabbitMQ and Erlang are."""

    server: str
    ctl: str
    epmd: str


def find_rabbit() -> RabbitPrograms | None:
    """The paths of RabbitMQ's programs, or None if one is missing."""
    # Debian's own rabbitmq-server in /usr/sbin is a wrapper that changes user and directory: the plain script is wanted.
    server, ctl = (find_program(name, first="/usr/lib/rabbitmq/bin") for name in ("rabbitmq-server", "rabbitmqctl"))
    epmd = find_program("epmd") or next(map(str, Path("/usr/lib/erlang").glob("erts-*/bin/epmd")), None)
    return RabbitPrograms(server, ctl, epmd) if server and ctl and epmd else None


class PrivateRabbit(Service):
    """A RabbitMQ node of our own, with an Erlang port mapper, cookie and data directory of its own.

    It can not meet another node of this machine: it asks only its own port mapper. No plugins are enabled.
    Starting takes some seconds: share one (fixture `rabbit_server`) wherever a test does not harm it.

    config: further lines of rabbitmq.conf, as in "consumer_timeout = 5000".
    """

    name = "rabbitmq"

    def __init__(self, *, config: str = "", at: Location = HERE) -> None:
        programs = find_rabbit()
        if programs is None:
            raise ServiceError(f"{RABBIT_MISSING}: install RabbitMQ")
        super().__init__(at)
        self._programs = programs
        self.node = f"celeriac-{secrets.token_hex(4)}@{'localhost' if at == HERE else at.address}"
        self.epmd_port = free_port()
        self._distribution_port = free_port()
        self._epmd: subprocess.Popen[bytes] | None = None
        self._vhost_names = (f"test-{number}" for number in itertools.count(1))
        self._door = ErlangDoor(self.directory, at.address)
        self._write_configuration(config)

    @property
    def url(self) -> str:
        """The URL of the vhost `/`."""
        return self.vhost_url("/")

    def vhost_url(self, vhost: str) -> str:
        """The URL of a vhost."""
        return f"amqp://guest:guest@{self.at.address}:{self.port}/{vhost}"

    def start(self) -> None:
        self.start_mapper()
        super().start()

    def start_mapper(self) -> None:
        """Start the Erlang port mapper, which every node needs. Idempotent."""
        if self._epmd is None:
            self._epmd = self._spawn([self._programs.epmd, "-port", str(self.epmd_port), "-address", self.at.address])

    def close(self) -> None:
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None
        super().close()

    def evaluate(self, expressions: str) -> str:
        """Evaluate Erlang expressions in the running node, a millisecond, and return what the last one gave."""
        return self._door.ask(expressions)

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl with these arguments (half a second) and return what it printed."""
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
        self.evaluate("ok = rabbit:stop().")

    def start_app(self) -> None:
        """Start RabbitMQ in a node where it was stopped, and return when it answers."""
        self.evaluate("ok = rabbit:start().")
        self.start()

    def cut_connections(self) -> None:
        """Close all connections of clients."""
        # One that is just closing by itself is as good as closed.
        self.evaluate(
            '[catch rabbit_networking:close_connection(C, "cut by a test") || C <- rabbit_networking:connections()], ok.'
        )

    def queue_lengths(self, vhost: str) -> dict[str, int]:
        """How many messages each queue of a vhost has, unacknowledged ones too; RabbitMQ counts quorum queues every five seconds."""
        listed = self.evaluate(LENGTHS.replace("VHOST", vhost))
        return {name: int(count) for name, count in (line.rsplit(maxsplit=1) for line in listed.splitlines())}

    def unsettled(self, vhost: str, queue: str) -> int:
        """How many messages a queue has in this moment, ready or delivered; 0 for one that does not exist."""
        return int(self.evaluate(UNSETTLED.replace("VHOST", vhost).replace("QUEUE", queue)))

    def vhost(self) -> str:
        """The name of a new vhost, in which the user `guest` may do everything."""
        vhost = next(self._vhost_names)
        self.evaluate(
            f"""
            ok = rabbit_vhost:add(<<"{vhost}">>, <<"tests">>),
            ok = rabbit_auth_backend_internal:set_permissions(
                <<"guest">>, <<"{vhost}">>, <<".*">>, <<".*">>, <<".*">>, <<"tests">>).
            """
        )
        return vhost

    def fresh_url(self) -> str:
        """The URL of a new vhost."""
        return self.vhost_url(self.vhost())

    def delete_vhost(self, vhost: str) -> None:
        """Delete a vhost and all that is in it."""
        self.evaluate(f'rabbit_vhost:delete(<<"{vhost}">>, <<"tests">>).')

    def _write_configuration(self, config: str) -> None:
        (self.directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.local = {self.at.address}:{self.port}\n"
            "disk_free_limit.absolute = 50MB\n"
            "vm_memory_high_watermark.absolute = 1GB\n"
            "loopback_users = none\n"
            f"{config}\n"
        )
        (self.directory / "conf.d").mkdir()
        (self.directory / "advanced.config").write_text("[].\n")
        (self.directory / "rabbitmq-env.conf").touch()
        (self.directory / "enabled_plugins").write_text("[].\n")
        # The node reads the attributes of all plugins it sees, enabled or not: that is a second and a half of each
        # start. So it sees none but itself, which it needs for the schema of its configuration.
        (self.directory / "plugins").mkdir()
        for itself in (self._installation() / "plugins").glob("rabbit-*"):
            (self.directory / "plugins" / itself.name).symlink_to(itself)
        cookie = self.directory / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)

    def _environment(self) -> dict[str, str]:
        # Settings of a node that this machine may run otherwise must not reach ours.
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("RABBITMQ_", "ERL_"))}
        this_address_only = f"-kernel inet_dist_use_interface {erlang_address(self.at.address)}"
        # Erlang's schedulers spin while they wait, which takes the processors from the tests when several nodes run.
        no_spinning = "+sbwt none +sbwtdcpu none +sbwtdio none"
        ctl_port = free_port()
        return inherited | {
            "HOME": str(self.directory),  # where Erlang looks for its cookie
            "ERL_EPMD_ADDRESS": self.at.address,
            "ERL_EPMD_PORT": str(self.epmd_port),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.directory / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(self.directory / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(self.directory / "conf.d"),
            "RABBITMQ_CTL_DIST_PORT_MAX": str(ctl_port),
            "RABBITMQ_CTL_DIST_PORT_MIN": str(ctl_port),
            "RABBITMQ_CTL_ERL_ARGS": f"{this_address_only} {no_spinning}",
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.directory / "generated"),
            "RABBITMQ_LOG_BASE": str(self.directory),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_MNESIA_BASE": str(self.directory / "data"),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_IP_ADDRESS": self.at.address,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_USE_LONGNAME": "false" if self.at == HERE else "true",
            "RABBITMQ_PID_FILE": str(self.directory / "pid"),
            "RABBITMQ_PLUGINS_DIR": str(self.directory / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{this_address_only} {no_spinning} {self._code_path()} {self._door.arguments}",
            "RUNNING_UNDER_SYSTEMD": "true",  # makes the script become the node instead of waiting for it
        }

    def _code_path(self) -> str:
        # Erlang looks for each module in a hundred folders, one after the other. Where those come first that have most
        # of them, a node starts in two thirds of the time.
        rabbit = self._installation() / "plugins"
        erlang = Path(self._programs.epmd).resolve().parents[2] / "lib"
        places = [(name, place) for name in FIRST_LIBRARIES for place in (rabbit, erlang)]
        return " ".join(f"-pa {folder}" for name, place in places for folder in place.glob(f"{name}-[0-9]*/ebin"))

    def _installation(self) -> Path:
        return Path(self._programs.server).resolve().parent.parent

    def _command(self) -> list[str]:
        return [self._programs.server]

    def _processes(self) -> list[subprocess.Popen[bytes]]:
        return [process for process in (self._server, self._epmd) if process is not None]

    def _answers(self, connection: socket.socket) -> bool:
        # The listener opens last of all: a node that offers its mechanisms has its queues back.
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        start_method = b"\x00\x0a\x00\x0a"
        return connection.recv(11)[7:] == start_method

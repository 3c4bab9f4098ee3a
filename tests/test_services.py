"""The private servers keep their promises: what was written survives a kill, and nothing is left when they are closed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import amqp
import pytest
import redis

from celeriac.torture.servers.service import Reaper
from tests.services import PrivateRabbit, PrivateRedis, ServiceError, free_port, wait_until


def redis_client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=5)


def rabbit_connection(server: PrivateRabbit, vhost: str = "/") -> amqp.Connection:
    return amqp.Connection(f"127.0.0.1:{server.port}", virtual_host=vhost, connect_timeout=10)


def publish_durably(server: PrivateRabbit, body: str) -> None:
    with rabbit_connection(server) as connection:
        channel = connection.channel()
        channel.confirm_select()
        channel.queue_declare("kept", durable=True, auto_delete=False)
        channel.basic_publish_confirm(amqp.Message(body, delivery_mode=2), routing_key="kept")


def take(server: PrivateRabbit) -> str | None:
    with rabbit_connection(server) as connection:
        message = connection.channel().basic_get("kept", no_ack=True)
        return None if message is None else message.body


def process_exists(pid: int) -> bool:
    # A zombie, dead but not yet collected by its new parent, counts as gone.
    status = Path(f"/proc/{pid}/stat")
    if status.exists():
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not Path("/proc").is_dir()


def test_free_port_is_not_one_that_outgoing_connections_use() -> None:
    assert 10_000 <= free_port() < 30_000


def test_redis_keeps_its_data_over_kill_and_restart(own_redis: PrivateRedis) -> None:
    with redis_client(own_redis.url) as client:
        client.rpush("kept", "1")
    own_redis.kill()
    assert not own_redis.running
    own_redis.start()
    with redis_client(own_redis.url) as client:
        client.rpush("kept", "2")
    own_redis.restart()
    with redis_client(own_redis.url) as client:
        assert client.lrange("kept", 0, -1) == [b"1", b"2"]


def test_frozen_redis_does_not_answer_until_thawed(own_redis: PrivateRedis) -> None:
    with redis.Redis.from_url(own_redis.url, socket_timeout=0.2, retry=None) as client:
        own_redis.freeze()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        own_redis.thaw()
    with redis_client(own_redis.url) as client:
        assert client.ping()


def test_redis_with_password_and_options(needs_redis: None) -> None:
    with PrivateRedis(password="secret", options=["--maxmemory", "3mb"]) as server:
        with redis_client(server.fresh_url()) as client:
            assert client.config_get("maxmemory") == {"maxmemory": str(3 * 1024 * 1024)}
        with pytest.raises(redis.AuthenticationError), redis_client(server.url.replace("secret", "wrong")) as client:
            client.ping()


def test_redis_urls_are_of_different_empty_databases(redis_server: PrivateRedis, redis_url: str) -> None:
    urls = [redis_url, *(redis_server.fresh_url() for _ in range(redis_server.databases - 1))]
    assert len(set(urls)) == redis_server.databases
    with redis_client(redis_url) as client:
        client.set("key", "value")
    assert redis_server.fresh_url() == redis_url
    with redis_client(redis_url) as client:
        assert client.dbsize() == 0


def test_rabbit_keeps_its_data_over_kill_and_restart(own_rabbit: PrivateRabbit) -> None:
    publish_durably(own_rabbit, "1")
    own_rabbit.restart()  # before the kill: RabbitMQ may lose a queue that was made less than a moment before one
    assert take(own_rabbit) == "1"
    publish_durably(own_rabbit, "2")
    own_rabbit.kill()
    with pytest.raises(ConnectionRefusedError):
        rabbit_connection(own_rabbit).connect()
    own_rabbit.start()
    assert take(own_rabbit) == "2"
    assert take(own_rabbit) is None


def test_rabbit_application_stops_and_starts_in_its_node(rabbit_server: PrivateRabbit) -> None:
    publish_durably(rabbit_server, "1")
    pid = rabbit_server.pid
    rabbit_server.stop_app()
    try:
        with pytest.raises(ConnectionRefusedError):
            rabbit_connection(rabbit_server).connect()
    finally:
        rabbit_server.start_app()
    assert rabbit_server.pid == pid
    assert take(rabbit_server) == "1"


def test_rabbit_urls_are_of_different_vhosts(rabbit_server: PrivateRabbit, rabbit_url: str) -> None:
    assert rabbit_server.fresh_url() != rabbit_url
    with rabbit_connection(rabbit_server, rabbit_url.rpartition("/")[2]) as connection:
        channel = connection.channel()
        queue, *_ = channel.queue_declare(
            "anything", durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"}
        )
        assert queue == "anything"


def test_what_was_in_a_vhost_is_gone_when_it_is_lent_again(rabbit_server: PrivateRabbit) -> None:
    vhost = rabbit_server.vhost()
    with rabbit_connection(rabbit_server, vhost) as connection:
        channel = connection.channel()
        channel.confirm_select()
        channel.exchange_declare("ours", "topic", auto_delete=False)
        for queue, kind in (("a", "quorum"), ("b", "classic"), ("c", "stream")):
            channel.queue_declare(queue, durable=True, auto_delete=False, arguments={"x-queue-type": kind})
            channel.basic_publish_confirm(amqp.Message("x"), routing_key=queue)
        assert [rabbit_server.unsettled(vhost, queue) for queue in "ab"] == [1, 1]
    rabbit_server.give_back(vhost)
    assert rabbit_server.borrow() == vhost
    assert rabbit_server.queue_lengths(vhost) == {}
    with rabbit_connection(rabbit_server, vhost) as connection, pytest.raises(amqp.NotFound):
        connection.channel().exchange_declare("ours", "topic", passive=True)
    rabbit_server.give_back(vhost)


def test_a_vhost_that_can_not_be_lent_again_is_deleted(rabbit_server: PrivateRabbit) -> None:
    vhost = rabbit_server.vhost()
    with rabbit_connection(rabbit_server, vhost) as connection:
        connection.channel().queue_declare(
            "celery_delayed_0", durable=True, auto_delete=False
        )  # one level, of another type
    rabbit_server.give_back(vhost)
    vhosts = rabbit_server.ctl("list_vhosts").split()
    assert vhost not in vhosts
    assert rabbit_server.borrow() != vhost


def test_an_expression_that_fails_says_why(rabbit_server: PrivateRabbit) -> None:
    assert rabbit_server.evaluate("Two = 2, Two + 1.") == "3"
    for wrong in ("1 / 0.", "1 +.", "ok = rabbit_vhost:no_such()."):
        with pytest.raises(ServiceError, match=f"^{re.escape(wrong)} failed: error "):
            rabbit_server.evaluate(wrong)


def test_rabbit_node_is_alone(rabbit_server: PrivateRabbit) -> None:
    nodes = rabbit_server.evaluate("[node() | nodes()].")
    assert nodes == f"['{rabbit_server.node}']"


def test_nothing_is_left_after_close(needs_redis: None, needs_rabbit: None) -> None:
    with PrivateRedis() as redis_server, PrivateRabbit() as rabbit_server:
        pids = [redis_server.pid, rabbit_server.pid]
        folders = [redis_server.directory, rabbit_server.directory]
        ports = [redis_server.port, rabbit_server.port, rabbit_server.epmd_port]
        redis_server.freeze()  # close() must not need the server's help
        rabbit_server.freeze()
    assert not any(map(process_exists, pids))
    assert not any(folder.exists() for folder in folders)
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()


VICTIM = """
import sys
from tests.services import PrivateRabbit, PrivateRedis

with PrivateRedis() as redis, PrivateRabbit() as rabbit:
    print(redis.pid, rabbit.pid, redis.directory, rabbit.directory, flush=True)
    sys.stdin.read()
"""


def test_nothing_is_left_of_a_test_run_that_was_killed(needs_redis: None, needs_rabbit: None) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", VICTIM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    ) as victim:
        assert victim.stdout is not None
        redis_pid, rabbit_pid, *folders = victim.stdout.readline().split()
        victim.send_signal(signal.SIGKILL)
    wait_until(lambda: not process_exists(int(redis_pid)), "Redis is killed")
    wait_until(lambda: not process_exists(int(rabbit_pid)), "RabbitMQ is killed")
    wait_until(lambda: not any(Path(folder).exists() for folder in folders), "the folders are removed")


LEADER = """
import subprocess, sys
print(subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL).pid, flush=True)
sys.stdin.read()
"""


def start_leader() -> tuple[subprocess.Popen[str], int]:
    """Start a process that leads a group, and return it with the number of its child."""
    command = [sys.executable, "-c", LEADER]
    leader = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert leader.stdout is not None
    return leader, int(leader.stdout.readline())


def test_a_stopped_child_of_a_dead_leader_is_killed_with_its_group(tmp_path: Path) -> None:
    reaper = Reaper(tmp_path / "folder")
    leader, child = start_leader()
    with leader:
        reaper.watch([leader])
        os.kill(child, signal.SIGSTOP)
        leader.kill()
    other, other_child = start_leader()
    with other:
        reaper.watch([other])
        assert process_exists(child)
        reaper.close()
    wait_until(lambda: not process_exists(child) and not process_exists(other_child), "both children are killed")


def test_a_server_that_can_not_start_says_why(needs_redis: None) -> None:
    with pytest.raises(ServiceError, match="no-such-option"), PrivateRedis(options=["--no-such-option", "1"]):
        pass

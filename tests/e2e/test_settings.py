"""Settings of Celery's that change what reaches a broker, a backend or an executor, on the real ones."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import amqp
import pytest
import redis

from celeriac import Celeriac
from celeriac.exceptions import BrokerUnavailable, PublishTimeout
from tests.e2e.harness import DEADLINE_S, Scene
from tests.services import PrivateRabbit


def test_failures_are_kept_for_a_time_of_their_own(scene: Scene) -> None:
    if scene.place.name != "redis":
        pytest.skip("only Redis tells how long it will keep a result")
    scene.worker("-c", "1", settings={"result_expires": 5000, "result_failure_expires": 300})
    fine, failed = scene.send("add", 1, 2), scene.send("echo")  # an argument is missing
    assert fine.get(timeout=DEADLINE_S) == 3
    with pytest.raises(TypeError):
        failed.get(timeout=DEADLINE_S)
    with redis.Redis.from_url(scene.place.backend_url) as client:
        assert 3000 < client.ttl(f"celery-task-meta-{fine.id}") <= 5000
        assert 0 < client.ttl(f"celery-task-meta-{failed.id}") <= 300


def test_messages_and_delay_queues_of_rabbitmq(rabbit_server: PrivateRabbit) -> None:
    rabbit_url = rabbit_server.fresh_url()
    with Celeriac(
        "shop",
        broker=rabbit_url,
        task_default_delivery_mode="transient",
        task_default_queue_type="classic",
        broker_native_delayed_delivery_queue_type="classic",
        set_as_current=False,
    ) as app:
        app.send_task("shop.add", (1,))
        app.send_task("shop.add", (2,), delivery_mode=2)
        app.send_task("shop.add", (3,), countdown=3600)
    address = urlsplit(rabbit_url)
    host, vhost = f"{address.hostname}:{address.port}", address.path[1:]
    with amqp.Connection(host, "guest", "guest", virtual_host=vhost) as connection:
        channel = connection.channel()
        modes = [channel.basic_get("celery", no_ack=True).properties["delivery_mode"] for _ in range(2)]
    assert modes == [1, 2]
    types = dict(line.split() for line in rabbit_server.ctl("list_queues", "-p", vhost, "name", "type").splitlines())
    assert (types["celery"], types["celery_delayed_27"], types["celery_delayed_0"]) == ("classic", "classic", "classic")


@pytest.mark.parametrize(
    "settings", [{"task_publish_retry": False}, {"task_publish_retry_policy": {"max_retries": 1, "interval_start": 0}}]
)
def test_how_often_publishing_is_tried(settings: dict[str, Any]) -> None:
    # Nobody listens on port 1. With our default it would be tried until the deadline.
    with (
        Celeriac("shop", broker="redis://127.0.0.1:1", publish_timeout_s=60, set_as_current=False, **settings) as app,
        pytest.raises(BrokerUnavailable) as error,
    ):
        app.send_task("shop.add", (1,))
    assert not isinstance(error.value, PublishTimeout)

"""Messages find their queues by routes, exchanges and patterns, and stay there, on every broker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from celeriac.exceptions import QueueNotFound, Unroutable
from celeriac.queues import Queue
from celeriac.torture.journal import END, START
from tests.e2e.harness import Guard, Place
from tests.e2e.routing_fleet import RoutingScene


@pytest.fixture(scope="module")
def routed(place: Place, guard: Guard) -> Iterator[RoutingScene]:
    """Workers for all tests of this file."""
    scene = RoutingScene(place, guard)
    yield scene
    scene.close()


def ran_in(scene: RoutingScene, key: str, count: int) -> list[str]:
    """Wait until a key has ended so often and return the queues where that was."""
    scene.until(lambda: len(scene.journal.of(END, key)) >= count, f"{key} ends {count} times")
    return sorted(scene.queue_of(line) for line in scene.journal.of(END, key))


def test_routes_of_every_kind(routed: RoutingScene) -> None:
    plain, exact, glob, asked, chosen = (routed.key(name) for name in ("plain", "exact", "glob", "asked", "chosen"))
    routed.app.send_task("routing.run", (plain,))
    routed.app.send_task("routing.exact", (exact,))
    routed.app.send_task("routing.video", (glob,))
    routed.app.send_task("routing.exact", (asked,), {"into": routed.name})
    routed.app.send_task("routing.exact", (chosen,), queue="slow")
    assert ran_in(routed, plain, 1) == ["plain"]
    assert ran_in(routed, exact, 1) == ["urgent"]
    assert ran_in(routed, glob, 2) == ["log", "video"]
    assert ran_in(routed, asked, 1) == ["plain"]
    assert ran_in(routed, chosen, 1) == ["slow"]


def test_an_exchange_named_in_the_call(routed: RoutingScene) -> None:
    one, both = routed.key("sd"), routed.key("hd")
    routed.app.send_task("routing.run", (one,), exchange=f"{routed.name}.media", routing_key="video.sd")
    routed.app.send_task("routing.run", (both,), exchange=f"{routed.name}.media", routing_key="video.hd", countdown=0.5)
    assert ran_in(routed, one, 1) == ["video"]
    assert ran_in(routed, both, 2) == ["log", "video"]


def test_a_retry_stays_in_its_queue(routed: RoutingScene) -> None:
    key = routed.key("again")
    routed.app.send_task("routing.again", (key,), exchange=f"{routed.name}.media", routing_key="video.hd")
    assert ran_in(routed, key, 2) == ["log", "video"]
    assert sorted((routed.queue_of(line), line.more["retries"]) for line in routed.journal.of(START, key)) == [
        ("log", 0), ("log", 1), ("video", 0), ("video", 1),
    ]  # fmt: skip


def test_what_leads_nowhere_is_an_error(routed: RoutingScene) -> None:
    with pytest.raises(Unroutable, match=f"no queue is bound to exchange '{routed.name}.media'"):
        routed.app.send_task("routing.run", ("x",), exchange=f"{routed.name}.media", routing_key="text")
    with pytest.raises(QueueNotFound, match="task_create_missing_queues"):
        routed.app.send_task("routing.run", ("x",), queue="no-such-queue")


def test_a_queue_object_in_the_call(routed: RoutingScene) -> None:
    key = routed.key("object")
    queue = Queue(f"{routed.name}.plain")
    routed.app.send_task("routing.run", (key,), queue=queue)
    assert ran_in(routed, key, 1) == ["plain"]


def test_a_full_queue_holds_up_no_other(routed: RoutingScene) -> None:
    gate = routed.gate()
    held = routed.keys("held", 3)
    for key in held:
        routed.app.send_task("routing.hold", (key, gate.path), queue="slow")
    routed.until(lambda: sum(routed.journal.starts(key) for key in held) == 1, "one is held")
    others = routed.keys("other", 10)
    for key in others:
        routed.app.send_task("routing.run", (key,))
    routed.until_done(others)
    assert sum(routed.journal.starts(key) for key in held) == 1
    gate.open()
    routed.until_done(held)
    lines = [line for line in routed.journal.lines if line.key in held]
    assert [line.event for line in lines] == [START, END] * 3


def test_a_worker_refuses_a_queue_that_is_not_declared(routed: RoutingScene) -> None:
    worker = routed.start("wrong", "-c", "1", "-Q", "no-such-queue")
    assert worker.wait() == 2
    assert "no-such-queue" in worker.log
    assert "task_queues" in worker.log


def test_a_broadcast_is_run_once_by_every_worker(routed: RoutingScene) -> None:
    other = routed.start("other", "-c", "1", "-Q", f"{routed.name}.all")
    other.wait_ready()
    workers = sorted([f"{routed.name}-wide@e2e", f"{routed.name}-other@e2e"])
    told, later, again = routed.key("told"), routed.key("later"), routed.key("retried")
    routed.app.send_task("routing.tell", (told,))
    routed.app.send_task("routing.tell", (later,), countdown=0.5)
    routed.app.send_task("routing.again", (again,), queue=f"{routed.name}.all")
    for key in (told, later, again):
        routed.until(lambda key=key: len(routed.journal.of(END, key)) >= 2, f"{key} ends twice")  # type: ignore[misc]
    assert other.terminate() == 0
    alone = routed.key("alone")
    routed.app.send_task("routing.tell", (alone,))
    routed.until_done([alone])
    for key in (told, later, again):
        assert sorted(line.more["worker"] for line in routed.journal.of(END, key)) == workers
    assert len(routed.journal.of(END, alone)) == 1


def test_priorities_have_one_direction(routed: RoutingScene) -> None:
    gate = routed.gate()
    queue = f"{routed.name}.urgent"
    blocker = routed.key("blocker")
    routed.app.send_task("routing.hold", (blocker, gate.path), queue=queue)
    routed.until_started(blocker)
    numbers = [0, 9, 3, 6, 9, 0, 3]
    keys = {routed.key(f"p{place}-{number}"): number for place, number in enumerate(numbers)}
    for key, number in keys.items():
        routed.app.send_task("routing.run", (key,), queue=queue, priority=number)
    gate.open()
    routed.until_done(keys)
    ran = [line for line in routed.journal.of(START) if line.key in keys]
    assert [line.key for line in ran] == sorted(keys, key=lambda key: -keys[key])  # sorting keeps the order of equals
    assert [line.more["priority"] for line in ran] == sorted(numbers, reverse=True)


def test_a_child_inherits_the_priority(routed: RoutingScene) -> None:
    parent, child = routed.key("parent"), routed.key("child")
    routed.narrow.terminate()
    heir = routed.start(
        "heir", "-c", "1", "-Q", f"{routed.name}.urgent", settings={"task_inherit_parent_priority": True}
    )
    heir.wait_ready()
    routed.app.send_task("routing.parent", (parent, child), queue=f"{routed.name}.urgent", priority=6)
    routed.until_done([child])
    (line,) = routed.journal.of(START, child)
    assert line.more["priority"] == 6


def test_celerys_numbers_go_through_unchanged(routed: RoutingScene) -> None:
    """The narrow worker is gone: what is sent here is only looked at."""
    direction = routed.client(task_priority_direction="celery")
    try:
        assert direction.amqp.to_wire(3, f"{routed.name}.urgent") == 3
    finally:
        direction.close()
    assert routed.app.amqp.to_wire(3, f"{routed.name}.urgent") == (3 if routed.place.name == "rabbitmq" else 6)

"""A Celery program's tasks run on our worker, and Celery's AsyncResult reads what became of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from celeriac.torture.servers.service import wait_until
from tests.interop.functions import OutOfStock
from tests.interop.harness import CeleryProducer, Place

QUEUE = "celery"


@pytest.fixture(scope="module")
def producer(place: Place) -> Iterator[CeleryProducer]:
    """The Celery program. On RabbitMQ the queue is the one that it makes, classic or quorum: our worker takes it as it is."""
    producer = place.celery_producer(QUEUE)
    first = producer.send("echo", ["first"])
    worker = place.our_worker(QUEUE, queue_type="quorum")  # what our workers make if nothing else is said
    assert producer.wait_for(first)["value"] == "first"
    yield producer
    assert worker.stop() == 0
    place.check_empty(QUEUE)


# -- what a message carries -------------------------------------------------------------------------------------------


def test_a_result(producer: CeleryProducer) -> None:
    ended = producer.run("add", [1, 2])
    assert ended["state"] == "SUCCESS"
    assert ended["value"] == 3
    assert ended["dated"]


def test_values_of_every_type_go_there_and_back(producer: CeleryProducer) -> None:
    assert producer.changed_values() == []


def test_the_worker_reads_what_the_sender_says_of_the_call(producer: CeleryProducer) -> None:
    ended = producer.run("about", [], headers={"tenant": "acme"}, priority=3, time_limit=50, soft_time_limit=40)
    told = ended["value"]
    assert told["id"] == told["root_id"] == ended["id"]
    assert told["tenant"] == "acme"
    assert told["priority"] == 3
    assert told["timelimit"] == [50, 40]
    assert told["parent_id"] is None
    assert told["retries"] == 0
    assert told["origin"].startswith("gen")
    assert told["hostname"] == "celeriac@ours"


def test_a_task_known_by_name_only(producer: CeleryProducer) -> None:
    assert producer.run_by_name("shop.add", [1, 2])["value"] == 3


@pytest.mark.parametrize("method", ["gzip", "bzip2", "lzma"])
def test_compressed(producer: CeleryProducer, method: str) -> None:
    assert producer.run("echo", ["x" * 10_000], compression=method)["value"] == "x" * 10_000


def test_protocol_1(producer: CeleryProducer) -> None:
    assert producer.run_with_protocol_1("add", [1, 2])["value"] == 3


def test_protocol_1_with_a_countdown_and_a_callback(place: Place, producer: CeleryProducer) -> None:
    key = place.key()
    callback: dict[str, object] = {
        "task": "shop.note",
        "args": [],
        "kwargs": {"key": key},
        "options": {},
        "subtask_type": None,
    }
    assert producer.run_with_protocol_1("add", [1, 2], countdown=0.3, link=callback)["value"] == 3
    place.until_noted(key)
    assert place.journal.of("end", key)[0].more["args"] == [3]


# -- when it runs -----------------------------------------------------------------------------------------------------


def test_countdown_and_eta_wait_in_the_broker(place: Place, producer: CeleryProducer) -> None:
    soon, later = place.key(), place.key()
    producer.run_by_name("shop.echo", ["the clock starts"])
    sent_at = _noted_at(place, producer)
    second = producer.send("note", [], kwargs={"key": later}, countdown=1.2)
    first = producer.send("note", [], kwargs={"key": soon}, countdown=0.4)
    producer.run_at("echo", [1], after_s=0.5, offset_minutes=330)
    assert producer.wait_for(first)["state"] == producer.wait_for(second)["state"] == "SUCCESS"
    assert place.journal.of("end", soon)[0].at >= sent_at + 0.4
    assert place.journal.of("end", later)[0].at >= sent_at + 1.2


def _noted_at(place: Place, producer: CeleryProducer) -> float:
    """When the journal says that a task ran which was sent before whatever is sent next."""
    key = place.key()
    producer.run("note", [], kwargs={"key": key})
    return place.journal.of("end", key)[0].at


def test_expired_before_its_time_came(place: Place, producer: CeleryProducer) -> None:
    # With a countdown, because RabbitMQ itself drops a message that expires in the queue, as Celery asks of it: the
    # sender then waits for ever for a result that nobody writes.
    key = place.key()
    ended = producer.run("note", [], kwargs={"key": key}, countdown=0.6, expires=0.3)
    assert ended["state"] == "REVOKED"
    assert ended["error"] == "celery.exceptions.TaskRevokedError('expired')"
    assert place.journal.ends(key) == 0


def test_revoked_by_our_side(place: Place, producer: CeleryProducer) -> None:
    key = place.key()
    task_id = producer.send("note", [], kwargs={"key": key}, countdown=1)
    place.our_app(QUEUE).control.revoke(task_id)
    ended = producer.wait_for(task_id)
    assert ended["state"] == "REVOKED"
    assert ended["error"] == "celery.exceptions.TaskRevokedError('revoked')"
    assert place.journal.ends(key) == 0


def test_revoked_by_celery(place: Place, producer: CeleryProducer) -> None:
    key = place.key()
    ended = producer.run_revoked("note", key=key, countdown=0.5)
    assert (ended["state"], place.journal.ends(key)) == ("REVOKED", 0)


# -- how it ends ------------------------------------------------------------------------------------------------------


def test_an_error_that_both_know(producer: CeleryProducer) -> None:
    ended = producer.run("fail", ["own"])
    assert ended["state"] == "FAILURE"
    assert ended["error"] == f"{OutOfStock.__module__}.OutOfStock('spoon', 0)"
    assert "OutOfStock" in ended["traceback"]
    assert 'in fail\n    raise OutOfStock("spoon", 0)' in ended["traceback"]


def test_an_error_of_python(producer: CeleryProducer) -> None:
    assert producer.run("fail", ["builtin"])["error"] == "builtins.ValueError('no good', 7)"


def test_an_unknown_task_fails_and_is_parked(place: Place, producer: CeleryProducer) -> None:
    ended = producer.run_by_name("shop.no_such_task", [])
    assert ended["state"] == "FAILURE"
    assert "never registered" in ended["error"]  # the text of Celery's NotRegistered
    wait_until(lambda: ended["id"] in [letter.id for letter in place.parked(QUEUE)], "the message is parked")


def test_an_unknown_task_reads_as_with_celery(producer: CeleryProducer) -> None:
    error = producer.run_by_name("shop.another", [])["error"]
    assert error.startswith("celery.exceptions.Task of kind 'shop.another' never registered")


def test_retries_until_it_works(producer: CeleryProducer) -> None:
    ended = producer.run("flaky", [2])
    assert ended["state"] == "SUCCESS"
    assert ended["value"] == 2
    # What was stored before Celery listened, it reads without telling.
    assert ended["seen"][-1:] in ([], ["SUCCESS"])
    assert set(ended["seen"]) <= {"RETRY", "SUCCESS"}


def test_retries_used_up(producer: CeleryProducer) -> None:
    ended = producer.run("flaky", [10])
    assert ended["state"] == "FAILURE"
    assert ended["error"] == f"{OutOfStock.__module__}.OutOfStock('fork', 3)"


@pytest.mark.parametrize(("task", "args", "state"), [("progress", [], "PROGRESS"), ("tracked", [1], "STARTED")])
def test_states_of_a_running_task_are_seen(producer: CeleryProducer, task: str, args: list[int], state: str) -> None:
    # Celery tells of what comes after it began to wait, and a task may be quicker than that.
    wait_until(lambda: producer.run(task, args)["seen"][-2:] == [state, "SUCCESS"], f"{state} is seen")


def test_an_ignored_result_is_not_kept(place: Place, producer: CeleryProducer) -> None:
    key = place.key()
    quiet_value, told_value, quiet_id, told_id = producer.send_ignored(key)
    place.until_noted(key, f"{key}-told")
    # Everything that was sent before it has been settled once this one has.
    producer.run("echo", [1])
    assert (quiet_value, told_value) == (None, None)
    if place.name == "redis":
        assert [producer.state_of(quiet_id), producer.state_of(told_id)] == ["PENDING", "PENDING"]


# -- what follows -----------------------------------------------------------------------------------------------------


def test_callbacks(place: Place, producer: CeleryProducer) -> None:
    key = place.key()
    assert producer.link(key)["value"] == 3
    place.until_noted(key, f"{key}-immutable")
    assert place.journal.of("end", key)[0].more["args"] == [3]
    assert place.journal.of("end", f"{key}-immutable")[0].more["args"] == []
    producer.run("echo", [1])
    assert place.journal.ends(f"{key}-error") == 0


def test_an_errback_gets_the_id(place: Place, producer: CeleryProducer) -> None:
    key = place.key()
    ended = producer.link_error(key)
    assert ended["state"] == "FAILURE"
    place.until_noted(key)
    assert place.journal.of("end", key)[0].more["args"] == [ended["id"]]
    producer.run("echo", [1])
    assert place.journal.ends(f"{key}-link") == 0


def test_an_errback_that_takes_request_error_and_traceback(place: Place, producer: CeleryProducer) -> None:
    key = f"failure-of-{producer.link_error_of_three()}"

    def has_ended() -> bool:
        return bool(place.journal.ends(key)) or "shop.note_failure" in [letter.task for letter in place.parked(QUEUE)]

    wait_until(has_ended, "the errback has run or was parked")
    assert place.journal.ends(key) == 1


def test_a_chain(producer: CeleryProducer) -> None:
    ended = producer.run_chain([1, 10, 100])
    assert ended["value"] == 112
    assert ended["steps"] == [112, 12, 2]


def test_a_chain_that_breaks(place: Place, producer: CeleryProducer) -> None:
    key = place.key()
    ended = producer.run_broken_chain(key)
    assert ended["state"] == "FAILURE"
    place.until_noted(key)
    assert place.journal.of("end", key)[0].more["args"] == [ended["id"]]
    producer.run("echo", [1])
    assert place.journal.ends(f"{key}-second") == 0


def test_a_stamped_chain(producer: CeleryProducer) -> None:
    both = [["own", "tenant"], {"own": 1, "tenant": ["acme", "ä"]}]
    one = [["tenant"], {"tenant": ["acme", "ä"]}]
    assert producer.run_stamped_chain()["value"] == [["celeriac@ours", *stamps] for stamps in (one, both, one)]


def test_a_group(producer: CeleryProducer) -> None:
    assert producer.run_group(5) == [0, 2, 4, 6, 8]


def test_children_are_known(producer: CeleryProducer) -> None:
    told = producer.run_parent()
    assert told["children"] == [told["told"]]
    # Celery's own worker would send this result to itself on rpc://: the caller could never read it.
    assert producer.wait_for(told["told"])["value"] == 42


# -- many, and by priority --------------------------------------------------------------------------------------------


def test_many_at_once(producer: CeleryProducer) -> None:
    calls = [{"x": number, "y": number} for number in range(200)]
    assert producer.run_many("add", calls) == [2 * number for number in range(200)]


def test_priorities(place: Place, producer: CeleryProducer) -> None:
    queue = f"urgent-{place.name}"
    order = [place.key() for _ in range(3)]
    # The most urgent is 0 on Redis, and the highest on RabbitMQ.
    priorities = (0, 3, 9) if place.name == "redis" else (9, 3, 0)
    calls = list(zip(order, priorities, strict=True))
    producer.send_by_priority(queue, [list(call) for call in reversed(calls)], 9)
    wait_until(lambda: place.depth(queue).ready == len(calls), "all are in the queue")
    worker = place.our_worker(queue, "-c", "1", name="urgent")
    place.until_noted(*order)
    assert sorted(order, key=lambda key: place.journal.of("end", key)[0].at) == order
    worker.stop()

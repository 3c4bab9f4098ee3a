"""Flower beside our workers: what it shows of them and their tasks, and that each of its buttons does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from celeriac import Celeriac
from celeriac.exceptions import TaskRevokedError
from celeriac.torture.servers.service import wait_until
from tests.fleet.flower import Flower
from tests.fleet.harness import THEIRS, Commands, Fleet
from tests.program import DEADLINE_S, ROOT

GUIDE = ROOT / "docs" / "guide" / "flower.md"
NODE = "ours@fleet"
QUEUE = "flower"


class Shop(NamedTuple):
    """Flower beside a worker, with an app that knows the tasks' names, and what looks at the worker besides."""

    fleet: Fleet
    flower: Flower
    celery: Commands
    app: Celeriac

    def send(self, task: str, *args: Any, **options: Any) -> Any:
        """Send a task; its result."""
        return self.app.tasks[f"shop.{task}"].apply_async(args, **options)

    def hold(self, **options: Any) -> tuple[Any, str]:
        """Start a task that runs until `release`; its result and its key."""
        key = self.fleet.key()
        held = self.send("hold", key, str(self.fleet.directory / key), **options)
        self.fleet.until_started(key)
        return held, key

    def release(self, key: str) -> None:
        """Have that task end."""
        (self.fleet.directory / key).touch()

    def asked(self, command: str) -> Any:
        """What the worker answers to a command of Celery's command line."""
        return self.celery.ask(command, NODE)[NODE]

    def processes(self) -> list[int]:
        """The processes of its pool."""
        return list(self.asked("inspect stats")["pool"]["processes"])

    def queues(self) -> set[str]:
        """The queues it works on."""
        return {queue["name"] for queue in self.asked("inspect active_queues")}


@pytest.fixture(scope="module")
def shop(fleet: Fleet) -> Shop:
    fleet.worker(NODE, QUEUE, "-c", "2", "-E")
    flower = fleet.flower(QUEUE, "-A", "flower_app", folder=folder_of_the_guide(fleet.directory))
    wait_until(lambda: _is_known(flower, NODE), "Flower knows the worker", deadline_s=DEADLINE_S)
    return Shop(fleet, flower, fleet.commands(THEIRS, QUEUE), fleet.our_app(QUEUE))


def folder_of_the_guide(folder: Path) -> Path:
    """Make the app that the guide shows, for our program."""
    (block,) = re.findall(r"^```python\n# flower_app.py\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    (folder / "flower_app.py").write_text(block)
    (folder / "shop.py").write_text("from tests.fleet.celeriac_app import app as app\n")
    return folder


def _is_known(flower: Flower, node: str) -> bool:
    workers = {worker["hostname"]: worker for worker in flower.workers()}
    return node in workers and workers[node]["status"] and node in flower.get("/workers", refresh=1)


# -- what it shows -----------------------------------------------------------------------------------------------------


def test_a_worker_is_shown_with_pool_queues_and_tasks(shop: Shop) -> None:
    worker = shop.flower.get("/workers", refresh=1, workername=NODE)[NODE]
    assert [queue["name"] for queue in worker["active_queues"]] == [QUEUE]
    assert {"shop.add", "shop.hold"} <= set(worker["registered"])
    assert worker["stats"]["pool"]["max-concurrency"] == 2
    assert worker["stats"]["broker"]["port"] == shop.fleet.server.port
    assert worker["conf"]["task_default_queue"] == QUEUE
    page = shop.flower.page(f"/worker/{NODE}")
    for shown in (QUEUE, "shop.add", str(worker["stats"]["pid"])):
        assert shown in page
    assert NODE in shop.flower.page("/workers")


def test_tasks_are_shown_with_their_ends(shop: Shop) -> None:
    sum_id = shop.send("add", 20, 22).id
    failed_id = shop.send("fail", "own").id
    retried_id = shop.send("flaky", 1).id
    added = shop.flower.until_task(sum_id, "SUCCESS")
    assert (added["name"], added["worker"], added["result"]) == ("shop.add", NODE, "42")
    assert (added["args"], added["kwargs"]) == ("(20, 22)", "{}")
    assert added["runtime"] > 0
    assert added["received"] <= added["started"] <= added["succeeded"]
    failed = shop.flower.until_task(failed_id, "FAILURE")
    assert "OutOfStock('spoon', 0)" in failed["exception"]
    assert "raise OutOfStock" in failed["traceback"]
    retried = shop.flower.until_task(retried_id, "SUCCESS")
    assert retried["retried"] is not None
    assert retried["retries"] == 1

    assert "raise OutOfStock" in shop.flower.page(f"/task/{failed_id}")
    assert set(shop.flower.get("/tasks", state="FAILURE")) >= {failed_id}
    assert sum_id not in shop.flower.get("/tasks", state="FAILURE")
    listed = shop.flower.get("/tasks", workername=NODE, taskname="shop.add")
    assert listed[sum_id]["state"] == "SUCCESS"


def test_running_and_waiting_tasks_are_shown(shop: Shop) -> None:
    held, key = shop.hold()
    shop.flower.until_task(held.id, "STARTED")
    worker = shop.flower.get("/workers", refresh=1, workername=NODE)[NODE]
    assert [task["id"] for task in worker["active"]] == [held.id]
    assert key in shop.flower.page(f"/worker/{NODE}")
    wait_until(lambda: shop.flower.worker(NODE)["active"] == 1, "a heartbeat tells of it", deadline_s=DEADLINE_S)
    shop.release(key)
    held.get(timeout=DEADLINE_S)


def test_metrics(shop: Shop) -> None:
    shop.flower.until_task(shop.send("add", 1, 2).id, "SUCCESS")
    metrics = shop.flower.metrics()
    assert metrics[f'flower_worker_online{{worker="{NODE}"}}'] == 1
    for event in ("task-received", "task-started", "task-succeeded"):
        assert metrics[f'flower_events_total{{task="shop.add",type="{event}",worker="{NODE}"}}'] >= 1
    assert metrics[f'flower_task_runtime_seconds_count{{task="shop.add",worker="{NODE}"}}'] >= 1
    assert metrics[f'flower_worker_prefetched_tasks{{task="shop.add",worker="{NODE}"}}'] == 0


def test_a_task_sent_from_flower(shop: Shop) -> None:
    sent = shop.flower.post("/task/async-apply/shop.add", {"args": [3, 4]})
    assert shop.flower.until_task(sent["task-id"], "SUCCESS")["result"] == "7"
    assert shop.flower.get(f"/task/result/{sent['task-id']}", timeout=10)["result"] == 7


def test_queue_lengths(shop: Shop) -> None:
    shop.flower.press(f"/worker/queue/cancel-consumer/{NODE}", queue=QUEUE)
    wait_until(lambda: not shop.queues(), "it works on no queue", deadline_s=DEADLINE_S)
    waiting = [shop.send("add", 1, number) for number in range(3)]
    lengths = {queue["name"]: queue["messages"] for queue in shop.flower.get("/queues/length")["active_queues"]}
    # On RabbitMQ Flower asks the management plugin, which the tests' node does not have.
    assert lengths.get(QUEUE) == (3 if shop.fleet.name == "redis" else None)
    shop.flower.press(f"/worker/queue/add-consumer/{NODE}", queue=QUEUE)
    assert [result.get(timeout=DEADLINE_S) for result in waiting] == [1, 2, 3]


def test_without_an_app_it_shows_the_same_but_knows_no_tasks(shop: Shop) -> None:
    flower = shop.fleet.flower(QUEUE, f"--broker={shop.fleet.broker_url}")
    wait_until(lambda: _is_known(flower, NODE), "Flower knows the worker", deadline_s=DEADLINE_S)
    assert flower.until_task(shop.send("add", 1, 2).id, "SUCCESS")["worker"] == NODE
    refused = flower.press("/task/rate-limit/shop.add", workername=NODE, ratelimit="1/h")
    assert refused == "404: Unknown task 'shop.add'"
    flower.program.stop()


# -- its buttons -------------------------------------------------------------------------------------------------------


def test_pool_grow_and_shrink(shop: Shop) -> None:
    assert shop.flower.press(f"/worker/pool/grow/{NODE}", n=2) == f"Growing '{NODE}' worker's pool by 2"
    held = [shop.hold() for _ in range(4)]
    assert len(shop.processes()) == 4
    for result, key in held:
        shop.release(key)
        assert result.get(timeout=DEADLINE_S) == key
    assert shop.flower.press(f"/worker/pool/shrink/{NODE}", n=2) == f"Shrinking '{NODE}' worker's pool by 2"
    wait_until(lambda: len(shop.processes()) == 2, "the pool has shrunk", deadline_s=DEADLINE_S)


def test_pool_restart(shop: Shop) -> None:
    before = set(shop.processes())
    assert shop.flower.press(f"/worker/pool/restart/{NODE}") == f"Restarting '{NODE}' worker's pool"

    def is_new() -> bool:
        after = set(shop.processes())
        return len(after) == 2 and not after & before

    wait_until(is_new, "all processes are others", deadline_s=DEADLINE_S)
    assert shop.send("add", 1, 2).get(timeout=DEADLINE_S) == 3


def test_rate_limit(shop: Shop) -> None:
    button = "/task/rate-limit/shop.echo"
    assert shop.flower.press(button, workername=NODE, ratelimit="1/h") == "new rate limit set successfully"
    assert "shop.echo [rate_limit=1/h]" in shop.asked("inspect registered")
    limited = [shop.send("echo", number) for number in range(2)]
    first = limited[0].get(timeout=DEADLINE_S)
    assert [shop.send("add", 1, number).get(timeout=DEADLINE_S) for number in range(3)] == [1, 2, 3]
    assert (first, limited[1].state in ("PENDING", "RECEIVED")) == (0, True), "the second waits, others pass it"
    assert shop.flower.press(button, workername=NODE, ratelimit="0") == "new rate limit set successfully"
    assert limited[1].get(timeout=DEADLINE_S) == 1


def test_time_limits(shop: Shop) -> None:
    button = "/task/timeout/shop.hold"
    assert shop.flower.press(button, workername=NODE, soft=0.2, hard=60) == "time limits set successfully"
    held = shop.send("hold", "for-ever", "/no/such/file")
    told = shop.flower.until_task(held.id, "FAILURE")
    assert "SoftTimeLimitExceeded" in told["exception"]
    assert shop.flower.press(button, workername=NODE, hard=0.2) == "time limits set successfully"
    told = shop.flower.until_task(shop.send("hold", "for-ever", "/no/such/file").id, "FAILURE")
    assert told["exception"].startswith("TimeLimitExceeded")
    assert shop.flower.press(button, workername=NODE, soft=60, hard=90) == "time limits set successfully"


def test_revoke_and_terminate(shop: Shop) -> None:
    later = shop.send("add", 1, 2, countdown=1)
    assert shop.flower.press(f"/task/revoke/{later.id}") == f"Revoked '{later.id}'"
    with pytest.raises(TaskRevokedError):
        later.get(timeout=DEADLINE_S)
    held, _key = shop.hold()
    assert shop.flower.press(f"/task/revoke/{held.id}", terminate=True) == f"Revoked '{held.id}'"
    told = shop.flower.until_task(held.id, "REVOKED")
    assert told["revoked"] is not None
    with pytest.raises(TaskRevokedError):
        held.get(timeout=DEADLINE_S)
    assert shop.send("add", 1, 2).get(timeout=DEADLINE_S) == 3


def test_add_and_cancel_consumer(shop: Shop) -> None:
    added = shop.flower.press(f"/worker/queue/add-consumer/{NODE}", queue="flower-extra")
    assert added == "add consumer flower-extra"
    assert shop.send("add", 1, 2, queue="flower-extra").get(timeout=DEADLINE_S) == 3
    assert shop.queues() == {QUEUE, "flower-extra"}
    cancelled = shop.flower.press(f"/worker/queue/cancel-consumer/{NODE}", queue="flower-extra")
    assert cancelled == "no longer consuming from flower-extra"
    wait_until(lambda: shop.queues() == {QUEUE}, "one queue is left", deadline_s=DEADLINE_S)


def test_autoscale_is_refused_where_it_is_off(shop: Shop) -> None:
    refused = shop.flower.press(f"/worker/pool/autoscale/{NODE}", min=1, max=3)
    assert refused.startswith("403: Failed to autoscale")
    assert "Autoscale not enabled" in refused


def test_a_second_worker_is_told_of_its_scale_and_to_enable_events(shop: Shop) -> None:
    node = "second@fleet"
    worker = shop.fleet.worker(node, "flower-second", "--autoscale=2,1")
    wait_until(lambda: _is_known(shop.flower, node), "Flower knows it", deadline_s=DEADLINE_S)
    told = shop.flower.press(f"/worker/pool/autoscale/{node}", min=1, max=3)
    assert told == f"Autoscaling '{node}' worker (min=1, max=3)"
    assert shop.celery.ask("inspect stats", node)[node]["autoscaler"]["max"] == 3

    def is_shown() -> bool:  # within five seconds Flower has all workers tell of their tasks
        sent = shop.send("add", 1, 2, queue="flower-second")
        sent.get(timeout=DEADLINE_S)
        return any(task["worker"] == node for task in shop.flower.get("/tasks", limit=1000).values())

    wait_until(is_shown, "its tasks are shown", deadline_s=DEADLINE_S, every_s=0.5)
    assert shop.flower.press(f"/worker/shutdown/{node}") == "Shutting down!"
    assert worker.process.wait(DEADLINE_S) == 0
    wait_until(lambda: not shop.flower.worker(node)["status"], "Flower shows it as offline", deadline_s=DEADLINE_S)

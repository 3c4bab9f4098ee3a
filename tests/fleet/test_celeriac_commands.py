"""Our command line and `app.control` in a mixed fleet: Celery's worker answers them as it answers its own tools."""

from __future__ import annotations

import json
from typing import Any

import pytest

from celeriac.exceptions import TaskRevokedError
from celeriac.torture.servers.service import wait_until
from tests.fleet.harness import OURS, THEIRS
from tests.fleet.pair import NODES, OURS_NODE, QUEUES, THEIR_NODE, Pair
from tests.program import DEADLINE_S

TOLD_ALIKE = ("ping", "registered", "active_queues", "conf", "scheduled", "revoked", "query_task no-such-id", "report")
"""Inspect commands whose answers stay the same while nothing happens."""


def test_celerys_tools_are_told_the_same(pair: Pair) -> None:
    for command in TOLD_ALIKE:
        by_ours, by_theirs = (pair.ask(f"inspect {command}", line) for line in (OURS, THEIRS))
        assert by_ours == by_theirs, command


def test_status(pair: Pair) -> None:
    answer = pair.celeriac("status")
    assert answer.code == 0
    assert "2 nodes online." in answer.output
    assert pair.celeriac("status", "--json").replies == {node: {"ok": "pong"} for node in NODES}
    assert pair.celeriac("status", "--json", "--pattern", "their*").replies == {THEIR_NODE: {"ok": "pong"}}
    assert pair.celeriac("status", "-d", "nobody@fleet", "-t", "0.2").code == 69


def test_control_changes_both(pair: Pair) -> None:
    assert pair.ask("control add_consumer pair-extra", OURS) == ({"ok": "add consumer pair-extra"},) * 2
    # Both reply first, and then do it.
    wait_until(
        lambda: all(
            "pair-extra" in {queue["name"] for queue in queues} for queues in pair.ask("inspect active_queues")
        ),
        "both consume it",
        deadline_s=DEADLINE_S,
    )
    assert pair.ask("control cancel_consumer pair-extra", OURS) == ({"ok": "no longer consuming from pair-extra"},) * 2
    assert pair.ask("control rate_limit shop.quiet 7/m", OURS) == ({"ok": "new rate limit set successfully"},) * 2
    for tasks in pair.ask("inspect registered"):
        assert "shop.quiet [rate_limit=7/m]" in tasks
    assert pair.ask("control pool_grow 1", OURS) == ({"ok": "pool will grow"},) * 2
    wait_until(lambda: _sizes(pair) == [3, 3], "both have grown", deadline_s=DEADLINE_S)
    assert pair.ask("control pool_shrink 1", OURS) == ({"ok": "pool will shrink"},) * 2
    # Celery's takes seconds to see that a process of its pool has ended.
    wait_until(lambda: _sizes(pair)[0] == 2, "ours has shrunk", deadline_s=DEADLINE_S)


def _sizes(pair: Pair) -> list[int]:
    return [len(stats["pool"]["processes"]) for stats in pair.ask("inspect stats")]


def test_events_of_both_are_seen(pair: Pair) -> None:
    watch = pair.fleet.start(
        "watch", ["celeriac", "-A", "tests.fleet.celeriac_app", "events", "--json", "--enable"], "pair"
    )
    for node in NODES:
        watch.wait_for(f'"hostname": "{node}"')  # a heartbeat
    pair.ask("control enable_events")
    sent = {
        node: pair.app.tasks["shop.add"].apply_async((1, 2), queue=queue)
        for node, queue in zip(NODES, QUEUES, strict=True)
    }
    for result in sent.values():
        result.get(timeout=DEADLINE_S)

    def events() -> list[dict[str, Any]]:
        return [json.loads(line) for line in watch.log.splitlines(keepends=True) if line.endswith("}\n")]

    wait_until(
        lambda: [one["type"] for one in events()].count("task-succeeded") == 2,
        "both tell of the end",
        deadline_s=DEADLINE_S,
    )
    for node, result in sent.items():
        of_task = [event for event in events() if event.get("uuid") == result.id]
        assert [event["type"] for event in of_task] == ["task-received", "task-started", "task-succeeded"], node
        assert {event["hostname"] for event in of_task} == {node}
        assert of_task[-1]["result"] == "3"

    def told() -> list[dict[str, Any]]:
        # A heartbeat that was asked for says less than those of every two seconds.
        return [one for one in events() if one["type"] != "worker-heartbeat" or "active" in one]

    wait_until(
        lambda: {one["hostname"] for one in told() if one["type"] == "worker-heartbeat"} >= set(NODES),
        "both send heartbeats of their own",
        deadline_s=DEADLINE_S,
    )
    fields = [{event["type"]: set(event) for event in told() if event["hostname"] == node} for node in NODES]
    for kind in ("worker-heartbeat", "task-received", "task-started", "task-succeeded"):
        assert fields[0][kind] == fields[1][kind], kind
    assert watch.stop() in (0, -15)


def test_app_control_ends_a_task_of_celerys_worker(pair: Pair) -> None:
    for queue in QUEUES:
        key = pair.fleet.key()
        held = pair.app.tasks["shop.hold"].apply_async((key, "/no/such/file"), queue=queue)
        pair.fleet.until_started(key)
        pair.app.control.revoke(held.id, terminate=True)
        with pytest.raises(TaskRevokedError):
            held.get(timeout=DEADLINE_S)


def test_app_control_asks_all(pair: Pair) -> None:
    replies = pair.app.control.ping(timeout=0.5)
    assert sorted(replies, key=str) == [{OURS_NODE: {"ok": "pong"}}, {THEIR_NODE: {"ok": "pong"}}]
    stats = pair.app.control.inspect(destination=list(NODES)).stats()
    assert stats is not None
    assert set(stats) == set(NODES)


def test_shutdown_of_celerys_worker(pair: Pair) -> None:
    worker = pair.fleet.worker("leaving@fleet", "pair-leaving", "-c", "1", kind=THEIRS)
    # Celery's workers say that they are ready a moment before they hear requests.
    wait_until(lambda: pair.app.control.ping(["leaving@fleet"], timeout=1.0), "it hears", deadline_s=DEADLINE_S)
    pair.app.control.shutdown(destination=["leaving@fleet"])
    assert worker.process.wait(DEADLINE_S) == 0

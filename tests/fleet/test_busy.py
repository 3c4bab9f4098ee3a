"""A worker whose executors are all busy, whatever they do, answers as an idle one: the process that answers runs no tasks."""

from __future__ import annotations

from tests.fleet.harness import OURS, Fleet
from tests.program import DEADLINE_S

NODE = "ours@fleet"
BUSY = {"shop.hold": 1, "shop.burn": 1, "shop.hold_thread": 2, "shop.hold_loop": 1}
"""Task -> how many, for two processes, two threads and an event loop."""


def test_a_busy_worker_answers(fleet: Fleet) -> None:
    fleet.worker(NODE, "busy", "-c", "2", "--threads", "2", "--async", "5", app="tests.fleet.busy_app")
    commands = fleet.commands(OURS, "busy")
    app = fleet.our_app("busy")
    gate = fleet.gate()
    keys = [fleet.key() for _ in range(sum(BUSY.values()))]
    names = [name for name, count in BUSY.items() for _ in range(count)]
    tasks = [app.send_task(name, (key, str(gate))) for name, key in zip(names, keys, strict=True)]
    for key in keys:
        fleet.until_started(key)
    waiting = [app.send_task("shop.add", (1, number)) for number in range(20)]

    assert app.control.ping(destination=[NODE], timeout=DEADLINE_S) == [{NODE: {"ok": "pong"}}]
    active = commands.ask("inspect active", NODE)[NODE]
    assert sorted(task["id"] for task in active) == sorted(task.id for task in tasks)
    assert commands.ask("inspect stats", NODE)[NODE]["total"] == {}
    assert commands.ask("control rate_limit shop.quiet 1/m", NODE)[NODE] == {"ok": "new rate limit set successfully"}
    assert not any(fleet.journal.ends(key) for key in keys), "all are busy still"

    gate.touch()
    assert [task.get(timeout=DEADLINE_S) for task in tasks] == keys
    assert [task.get(timeout=DEADLINE_S) for task in waiting] == list(range(1, 21))

"""Tasks and handlers that misbehave in our own machinery's hands: each comes to an end, and the executors go on."""

from __future__ import annotations

from typing import Any

import pytest

from celeriac.exceptions import CeleriacError
from tests.e2e.harness import DEADLINE_S, Scene


@pytest.mark.parametrize("task", ["quits", "quits_in_thread", "cancels_itself"])
def test_a_handler_that_would_end_its_executor_does_not(shared_scene: Scene, task: str) -> None:
    results = shared_scene.send_all(task, [(number,) for number in range(12)])
    assert [result.get(timeout=DEADLINE_S) for result in results] == list(range(12))
    assert shared_scene.send("add", 1, 1).get(timeout=DEADLINE_S) == 2


@pytest.mark.parametrize(("option", "value"), [("queue", 17), ("priority", "high"), ("priority", 2**70)])
def test_a_retry_with_a_senseless_option_fails_its_task(shared_scene: Scene, option: str, value: Any) -> None:
    with pytest.raises((TypeError, CeleriacError), match=f"{option}="):
        shared_scene.send("retries_oddly", option, value).get(timeout=DEADLINE_S)
    assert shared_scene.send("add", 1, 1).get(timeout=DEADLINE_S) == 2


@pytest.mark.parametrize("task", ["add", "add_in_thread", "add_async"])
def test_a_follow_up_that_no_frame_can_carry_parks_or_fails_its_task(shared_scene: Scene, task: str) -> None:
    link = {"task": "tests.e2e.app.add", "args": [1], "kwargs": {}, "options": {"headers": {"n": 2**70}}}
    result = shared_scene.app.send_task(f"tests.e2e.app.{task}", (1, 2), link=link, queue=shared_scene.queue)
    with pytest.raises(CeleriacError):
        result.get(timeout=DEADLINE_S)
    assert shared_scene.send(task, 1, 1).get(timeout=DEADLINE_S) == 2


def test_a_soft_limit_never_spoils_a_report(shared_scene: Scene) -> None:
    assert shared_scene.send("reports_much").get(timeout=DEADLINE_S) == "soft"
    assert shared_scene.send("add", 1, 1).get(timeout=DEADLINE_S) == 2

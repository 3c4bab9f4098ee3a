"""What listeners are told, in the process where each signal belongs."""

from __future__ import annotations

import pytest

from celeriac import signals
from celeriac.core.message import Message
from celeriac.exceptions import EncodeError
from tests.e2e.harness import DEADLINE_S, Scene

LIFE = ("ready", "shutting_down", "shutdown")


def events(scene: Scene, key: str) -> list[str]:
    return [line.event for line in scene.journal.lines if line.key == key]


def test_the_signals_of_a_success(scene: Scene) -> None:
    key = scene.key("fine")
    result = scene.send("heard", "succeed", key, headers={"key": key})
    assert result.get(DEADLINE_S) == "value"
    assert events(scene, key) == ["received", "prerun", "success", "postrun"]
    (post,) = scene.journal.of("postrun", key)
    assert (post.more["id"], post.more["retval"], post.more["state"]) == (result.id, "'value'", "SUCCESS")
    (received,) = scene.journal.of("received", key)
    assert received.pid != post.pid  # the one in the worker's core, the other where the task ran


def test_the_signals_of_a_failure(scene: Scene) -> None:
    key = scene.key("failed")
    with pytest.raises(ValueError, match="failed"):
        scene.send("heard", "fail", key).get(DEADLINE_S)
    assert events(scene, key) == ["prerun", "failure", "postrun"]
    (failure,) = scene.journal.of("failure", key)
    assert failure.more["text"] is True


def test_the_signals_of_a_retry(scene: Scene) -> None:
    key = scene.key("retried")
    assert scene.send("heard", "retry", key).get(DEADLINE_S) == "value"
    assert events(scene, key) == ["prerun", "retry", "postrun", "prerun", "success", "postrun"]


def test_the_signal_of_a_revoke(lone_scene: Scene) -> None:
    key = lone_scene.key("revoked")
    result = lone_scene.send("heard", "succeed", key)
    lone_scene.app.control.revoke(result.id)
    lone_scene.worker("-c", "1")
    lone_scene.until(lambda: lone_scene.journal.of("revoked", key), "the signal was sent")
    (revoked,) = lone_scene.journal.of("revoked", key)
    assert (revoked.more["expired"], revoked.more["terminated"]) == (False, False)


def test_the_signal_of_an_unknown_task(lone_scene: Scene) -> None:
    lone_scene.worker("-c", "1")
    key = lone_scene.key("nobody")
    lone_scene.app.send_task(f"no/{key}", queue=lone_scene.queue)
    lone_scene.until(lambda: lone_scene.journal.of("unknown", key), "the signal was sent")


def test_the_signals_of_a_worker_s_life(lone_scene: Scene) -> None:
    worker = lone_scene.worker("-c", "1")
    assert worker.terminate() == 0
    seen = [event for event in events(lone_scene, f"{lone_scene.queue}:") if event in LIFE]
    assert seen == list(LIFE)
    (stop,) = lone_scene.journal.of("shutting_down", f"{lone_scene.queue}:")
    assert (stop.more["sig"], stop.more["how"]) == ("SIGTERM", "Warm")


def test_the_signals_of_processes(lone_scene: Scene) -> None:
    worker = lone_scene.worker("-c", "2")
    assert worker.terminate() == 0
    seen = events(lone_scene, f"{lone_scene.queue}:")
    for once in ("celeryd_init", "after_setup", "worker_init"):
        assert once in seen
    assert [seen.count(event) for event in ("before_fork", "process_init", "process_shutdown")] == [2, 2, 2]
    assert all(line.more["same"] for line in lone_scene.journal.of("process_shutdown"))


def test_the_signal_of_a_defect(lone_scene: Scene) -> None:
    lone_scene.worker("-c", "1")
    result = lone_scene.send("defective", task_id=lone_scene.key("defect"))
    lone_scene.until_parked(1)
    with pytest.raises(EncodeError, match="could not be concluded: SystemExit"):
        result.get(DEADLINE_S)
    (told,) = lone_scene.journal.of("internal_error", result.id)
    assert told.more["error"] == "SystemExit"


def test_signals_that_wait_for_what_sends_them() -> None:
    assert not hasattr(signals, "eventlet_pool_started")


def test_publishing_is_announced_before_and_after(scene: Scene) -> None:
    heard: list[tuple[object, ...]] = []

    def before(sender: str, headers: dict[str, object], body: object, routing_key: str, **_more: object) -> None:
        headers["tenant"] = 7
        heard.append(("before", sender, body, routing_key))

    def after(sender: str, headers: dict[str, object], **_more: object) -> None:
        heard.append(("after", sender, headers["id"], headers["tenant"]))

    name = scene.task_name("request")
    signals.before_task_publish.connect(before, sender=name)
    signals.after_task_publish.connect(after, sender=name)
    try:
        result = scene.send("request", "tenant")
    finally:
        signals.before_task_publish.disconnect(before, sender=name)
        signals.after_task_publish.disconnect(after, sender=name)
    assert result.get(DEADLINE_S) == {"tenant": 7}
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    assert heard == [
        ("before", name, (["tenant"], {}, embed), scene.queue),
        ("after", name, result.id, 7),
    ]


def test_a_receiver_that_raises_disturbs_nobody() -> None:
    heard: list[str] = []

    def raises(**_more: object) -> None:
        raise ValueError

    def listens(**_more: object) -> None:
        heard.append("here")

    signals.task_unknown.connect(raises)
    signals.task_unknown.connect(listens)
    try:
        (first, second) = signals.task_unknown.send("worker", message=Message("q", {}, b""), exc=None, name="x", id="1")
    finally:
        signals.task_unknown.disconnect(raises)
        signals.task_unknown.disconnect(listens)
    assert (type(first[1]), second[1], heard) == (ValueError, None, ["here"])

"""Revoking reaches a task wherever it is: delayed, on its way, running in each kind of executor; by id and by stamp."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from celeriac.client.result import AsyncResult
from celeriac.contrib.abortable import AbortableAsyncResult
from celeriac.core import states
from celeriac.exceptions import SoftTimeLimitExceeded, TaskRevokedError
from tests.e2e.harness import DEADLINE_S, Fleet, Guard, Place, Scene, WorkerProcess

PROGRAM = "tests.e2e.cancel_app"
ALL_KINDS = ("-c", "2", "--threads", "4", "--async", "10")
QUEUE = "cancel"


@pytest.fixture(scope="module")
def common_worker(place: Place, guard: Guard) -> Iterator[WorkerProcess]:
    """A worker for the tests that leave it in order."""
    fleet = Fleet(place, guard, PROGRAM)
    yield fleet.start(QUEUE, "-c", "5", "--threads", "4", "--async", "10")
    fleet.close()


@pytest.fixture
def common(place: Place, guard: Guard, common_worker: WorkerProcess) -> Iterator[Scene]:
    """Keys of the test's own on the queue of the common worker."""
    scene = Scene(place, guard, QUEUE)
    yield scene
    scene.close()
    assert common_worker.process.poll() is None, f"the worker ended:\n{common_worker.log}"


def start(scene: Scene, *options: str, **settings: Any) -> WorkerProcess:
    return scene.worker("-A", PROGRAM, *(options or ALL_KINDS), settings=settings)


def send(scene: Scene, task: str, *args: Any, **options: Any) -> AsyncResult[Any]:
    return scene.app.send_task(f"{PROGRAM}.{task}", args, **{"queue": scene.queue, **options})


def running(scene: Scene, task: str, *args: Any) -> tuple[str, AsyncResult[Any]]:
    """Send a task and wait until it has begun."""
    key = scene.key(task)
    result = send(scene, task, key, *args)
    scene.until_started(key)
    return key, result


def expect_revoked(result: AsyncResult[Any], reason: str) -> None:
    with pytest.raises(TaskRevokedError, match=reason):
        result.get(timeout=DEADLINE_S)


def events(scene: Scene, key: str) -> list[str]:
    return [line.event for line in scene.journal.lines if line.key == key]


# -- running ----------------------------------------------------------------------------------------------------------


def test_the_signal_is_sent_and_the_process_dies_of_it(common: Scene, common_worker: WorkerProcess) -> None:
    signals: list[tuple[Any, str]] = [
        (None, "SIGTERM"), ("INT", "SIGINT"), (9, "SIGKILL"), ("SIGUSR2", "SIGUSR2"), (signal.SIGABRT, "SIGABRT")
    ]  # fmt: skip
    gate, keys = common.gate(), common.keys("held", 5)
    results = [send(common, "held", key, gate.path) for key in keys]
    common.until_started(*keys)
    for result, (name, _) in zip(results, signals, strict=True):
        result.revoke(terminate=True, signal=name)
    for result, (_, death) in zip(results, signals, strict=True):
        expect_revoked(result, "terminated")
        assert f"Terminating {result.id} ({death})" in common_worker.log
    common.until_empty()
    assert [events(common, key) for key in keys] == [["start"]] * 5
    assert not any(psutil.pid_exists(line.pid) for line in common.journal.lines if line.event == "start")
    assert "did not end when told" not in common_worker.log


def test_usr1_raises_the_soft_limit_inside_the_task(common: Scene) -> None:
    told = [running(common, task) for task in ("soft", "soft_in_thread", "soft_async")]
    _, uncaught = running(common, "held", common.gate().path)
    uncaught.revoke(terminate=True, signal="USR1")
    for _, result in told:
        result.terminate("SIGUSR1")
    for key, result in told:
        assert result.get(timeout=DEADLINE_S) == "tidied up"
        assert events(common, key) == ["start"]
    with pytest.raises(SoftTimeLimitExceeded):
        uncaught.get(timeout=DEADLINE_S)


def test_a_task_cleans_up_and_is_revoked_and_its_neighbours_run_on(common: Scene) -> None:
    gate = common.gate()
    beside = [running(common, task, gate.path) for task in ("held_in_thread", "held_async")]
    ended = [running(common, task) for task in ("cleans_up_in_thread", "cleans_up_async", "cleans_up")]
    failing = running(common, "fails_cleaning_up")
    for _, result in [*ended, failing]:
        result.revoke(terminate=True)
    for key, result in ended:
        expect_revoked(result, "terminated")
        assert events(common, key) == ["start", "cleaned"]
    expect_revoked(failing[1], "terminated")
    gate.open()
    for key, result in beside:
        assert result.get(timeout=DEADLINE_S) == key
        assert events(common, key) == ["start", "end"]
    common.until_empty()


def test_a_task_that_returns_in_time_has_succeeded(common: Scene) -> None:
    told = [running(common, task)[1] for task in ("finishes", "finishes_in_thread", "finishes_async")]
    common.app.control.terminate([result.id for result in told])
    for result in told:
        assert result.get(timeout=DEADLINE_S) == "finished anyway"
    common.until_empty()
    # The process that did not die of its signal was replaced.
    key = common.key("after")
    assert send(common, "work", key).get(timeout=DEADLINE_S) == key


def test_a_task_that_does_not_heed_it_is_killed_after_the_grace(scene: Scene) -> None:
    worker = start(scene, task_cancel_grace_s=0.3)
    gate = scene.gate()
    beside_key, beside = running(scene, "held_async", gate.path)
    told = [running(scene, task) for task in ("stubborn", "stubborn_in_thread", "stubborn_async")]
    for _, result in told:
        result.revoke(terminate=True)
    for key, result in told:
        expect_revoked(result, "terminated")
        assert scene.journal.starts(key) == 1
    assert worker.log.count("did not end when told") == 3
    # What ran beside it in the same process runs again.
    scene.until_started(beside_key, times=2)
    gate.open()
    assert beside.get(timeout=DEADLINE_S) == beside_key
    scene.until_empty()


def test_sigkill_waits_no_longer_for_who_was_told_before(common: Scene, common_worker: WorkerProcess) -> None:
    _key, result = running(common, "stubborn")
    result.revoke(terminate=True)
    common.until(lambda: f"Terminating {result.id} (SIGTERM)" in common_worker.log, "the worker has heard of it")
    result.revoke(terminate=True, signal="SIGKILL")
    expect_revoked(result, "terminated")
    assert f"[{result.id}] did not end when told" not in common_worker.log
    common.until_empty()


def test_a_programs_own_handler_of_the_signal_does_not_make_it_a_failure(
    common: Scene, common_worker: WorkerProcess
) -> None:
    key, errback = common.key("quiet"), common.key("errback")
    link_error = [common.app.signature(f"{PROGRAM}.errback", kwargs={"key": errback}, queue=QUEUE)]
    result = send(common, "exits_quietly", key, link_error=link_error)
    common.until_started(key)
    result.revoke(terminate=True)
    common.until(lambda: f"[{result.id}] was terminated" in common_worker.log, "it has ended")
    last = common.key("last")
    assert send(common, "work", last).get(timeout=DEADLINE_S) == last
    common.until_empty()
    assert events(common, errback) == []


def test_an_abortable_task_stops_when_it_looks(common: Scene) -> None:
    if not common.place.stores_results:
        pytest.skip("results are sent here, not stored")
    _key, result = running(common, "abortable")
    abortable: AbortableAsyncResult[str] = AbortableAsyncResult(result.id, app=common.app)
    assert not abortable.is_aborted()
    abortable.abort()
    assert result.get(timeout=DEADLINE_S) == "stopped half way"
    abortable.abort()
    assert abortable.state == states.SUCCESS


# -- on its way -------------------------------------------------------------------------------------------------------


def test_a_delayed_task_is_taken_out_of_its_delay(scene: Scene) -> None:
    worker = start(scene, "-c", "1")
    revoked = send(scene, "work", scene.key("revoked"), countdown=3600)
    quiet = send(scene, "quiet", scene.key("quiet"), countdown=3600)
    kept = send(scene, "work", scene.key("kept"), countdown=3600)
    if scene.place.name == "rabbitmq":
        # Nobody can look into its delay.  What is revoked there stays until it is due.
        soon = send(scene, "work", scene.key("soon"), countdown=1.0)
        soon.revoke()
        expect_revoked(soon, "revoked")
        return
    worker.terminate()  # nobody is needed for it
    scene.app.control.revoke([revoked.id, quiet.id])
    expect_revoked(revoked, "revoked")
    assert revoked.state == states.REVOKED
    depth = scene.depth()
    assert (depth.ready, depth.delayed) == (0, 1)
    assert kept.state == states.PENDING
    kept.revoke(wait=True, timeout=DEADLINE_S)
    assert kept.state == states.REVOKED
    scene.until_empty()


def test_a_retry_that_waits_is_revoked(scene: Scene) -> None:
    start(scene, "-c", "1")
    key = scene.key("retries")
    countdown = 1.0 if scene.place.name == "rabbitmq" else 3600.0
    result = send(scene, "retries", key, countdown)
    scene.until_started(key)
    scene.until(lambda: not scene.place.stores_results or result.state == states.RETRY, "it is to be retried")
    result.revoke()
    expect_revoked(result, "revoked")
    scene.until_empty()
    assert scene.journal.starts(key) <= 2


def test_by_stamp_delayed_waiting_and_running(scene: Scene) -> None:
    def stamped(task: str, name: str, tenant: object, *args: Any, **options: Any) -> AsyncResult[Any]:
        """Send a task as Celery's canvas does when it was stamped."""
        message = scene.app.message(
            f"{PROGRAM}.{task}", (scene.key(name), *args), options={"queue": scene.queue, **options}
        )
        message.headers |= {"stamped_headers": ["tenant"], "stamps": {"tenant": tenant}}
        scene.app.sender.publish(message, {})
        return scene.app.AsyncResult(message.id)

    gate = scene.gate()
    start(scene, "-c", "1", "--async", "5")
    ours = stamped("held_async", "running", ["acme", "other"], gate.path)
    theirs = stamped("held_async", "running-theirs", "zebra", gate.path)
    scene.until_started(scene.key("running"), scene.key("running-theirs"))
    delayed = stamped("work", "delayed", "acme", countdown=1.0 if scene.place.name == "rabbitmq" else 3600.0)
    scene.app.control.revoke_by_stamped_headers({"tenant": ["acme", "none"]}, terminate=True)
    expect_revoked(ours, "terminated")
    expect_revoked(delayed, "revoked")
    later = stamped("work", "later", "acme")
    expect_revoked(later, "revoked")
    gate.open()
    assert theirs.get(timeout=DEADLINE_S) == scene.key("running-theirs")
    assert stamped("work", "fine", "zebra").get(timeout=DEADLINE_S) == scene.key("fine")
    scene.until_empty()
    assert [scene.journal.starts(scene.key(name)) for name in ("delayed", "later")] == [0, 0]


def test_a_revoked_member_ends_its_chain(scene: Scene) -> None:
    step, errback = scene.key("step"), scene.key("errback")
    options = {
        "queue": scene.queue,
        "link": [scene.app.signature(f"{PROGRAM}.work", [step], queue=scene.queue, immutable=True)],
        "link_error": [scene.app.signature(f"{PROGRAM}.errback", kwargs={"key": errback}, queue=scene.queue)],
    }
    before = scene.app.send_task(f"{PROGRAM}.work", [scene.key("before")], **options)  # type: ignore[arg-type]
    before.revoke()
    start(scene, "-c", "1")
    expect_revoked(before, "revoked")
    gate, key = scene.gate(), scene.key("held")
    held = scene.app.send_task(f"{PROGRAM}.held", [key, gate.path], **options)  # type: ignore[arg-type]
    scene.until_started(key)
    held.revoke(terminate=True)
    expect_revoked(held, "terminated")
    last = scene.key("last")
    assert send(scene, "work", last).get(timeout=DEADLINE_S) == last
    scene.until_empty()
    assert events(scene, step) == events(scene, errback) == []


def test_a_worker_that_stops_meanwhile_leaves_it_to_the_next(scene: Scene) -> None:
    worker = start(scene, "-c", "1", "--grace", "0", task_cancel_grace_s=60.0)
    key, result = running(scene, "stubborn")
    result.revoke(terminate=True)
    scene.until(lambda: "Terminating" in worker.log, "the worker has heard of it")
    worker.terminate()
    start(scene, "-c", "1")
    expect_revoked(result, "revoked")
    scene.until_empty()
    assert scene.journal.starts(key) == 1

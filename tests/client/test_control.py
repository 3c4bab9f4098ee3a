"""`app.control`: what revoking asks of the broker, and what it refuses."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.brokers.embedded.memory import MemoryBroker
from celeriac.client.stop_signals import signal_name, signal_number
from celeriac.core import states
from celeriac.core.headers import CRASHES
from celeriac.core.message import Delivery, Message, Revocation
from celeriac.core.revoking import REVOKED, stamp_id
from celeriac.exceptions import ArgumentError, BrokerUnavailable, TaskRevokedError
from celeriac.wire.task_v2 import Embed, encode_body


@pytest.fixture
def app() -> Iterator[Celeriac]:
    with Celeriac("control", broker="memory://", backend="memory://", task_revoke_expires_s=100.0) as app:
        app.task(name="quiet", ignore_result=True)(lambda: None)
        app.task(name="work")(lambda: None)
        yield app


def revocations(app: Celeriac) -> list[Revocation]:
    """Every revocation in force."""
    broker = app.broker
    assert isinstance(broker, MemoryBroker)
    return broker._store.revocations_after(0)[1]


def delayed(app: Celeriac, **headers: Any) -> Message:
    message = app.message("work", options={"countdown": 3600, "queue": "q"})
    message.headers |= headers
    app.sender.publish(message, {})
    return message


def depths(app: Celeriac) -> tuple[int | None, int | None]:
    (depth,) = app.broker.admin().depths(["q"])
    return depth.ready, depth.delayed


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (None, "SIGTERM"),
        ("SIGKILL", "SIGKILL"),
        ("kill", "SIGKILL"),
        (" Usr1 ", "SIGUSR1"),
        (15, "SIGTERM"),
        ("9", "SIGKILL"),
        (signal.SIGINT, "SIGINT"),
        (int(signal.SIGRTMIN) + 1, str(int(signal.SIGRTMIN) + 1)),
    ],
)
def test_signals_are_known_by_name_and_number(given: Any, name: str) -> None:
    assert signal_name(given) == name
    assert signal_number(name) == (given if type(given) is int else signal_number(name))


@pytest.mark.parametrize(
    ("given", "why"), [("SIGTREM", "did you mean 'SIGTERM'"), (0, "number 0"), (4711, "number 4711"), (1.5, "a name"),
                       (True, "a name"), ("", "no signal ''")]
)  # fmt: skip
def test_what_is_no_signal_is_refused_at_the_call(app: Celeriac, given: Any, why: str) -> None:
    with pytest.raises(ArgumentError, match=why):
        app.control.revoke("x", terminate=True, signal=given)
    assert revocations(app) == []


def test_revoke_keeps_each_id_until_its_time(app: Celeriac) -> None:
    before = time.time()
    app.control.revoke("a")
    app.control.revoke(["b", "c", "b"], terminate=True, signal="usr1", reply=True, timeout=0.0)
    app.control.revoke("x", destination=["w1@h"])  # for that worker alone, so it is not kept
    app.control.terminate("d", signal=signal.SIGKILL)
    app.control.revoke([])
    app.AsyncResult("e").revoke(connection=None, terminate=True)
    app.AsyncResult("f").terminate("INT")
    said = [(one.id, one.terminate, one.signal) for one in revocations(app)]
    assert said == [
        ("a", False, "SIGTERM"),
        ("b", True, "SIGUSR1"),
        ("c", True, "SIGUSR1"),
        ("d", True, "SIGKILL"),
        ("e", True, "SIGTERM"),
        ("f", True, "SIGINT"),
    ]
    assert all(before + 100 <= one.expires_at <= time.time() + 100 for one in revocations(app))


@pytest.mark.parametrize("ids", [[1], [None], [""], [b"x"]])
def test_what_is_no_id_is_refused(app: Celeriac, ids: Any) -> None:
    with pytest.raises(ArgumentError, match="ids of tasks"):
        app.control.revoke(ids)


def test_revoke_by_stamped_headers(app: Celeriac) -> None:
    app.control.revoke_by_stamped_headers({"tenant": "acme", "job": [1, None]}, terminate=True, signal="KILL")
    app.AsyncResult("x").revoke_by_stamped_headers({"tenant": ("zebra",)})
    assert [(one.id, one.terminate) for one in revocations(app)] == [
        (stamp_id("tenant", "acme"), True),
        (stamp_id("job", 1), True),
        (stamp_id("job", None), True),
        (stamp_id("tenant", "zebra"), False),
    ]
    with pytest.raises(ArgumentError, match="a dict of stamps"):
        app.control.revoke_by_stamped_headers(["tenant=acme"])  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="stamp 'tenant'"):
        app.control.revoke_by_stamped_headers({"tenant": object()})


def test_a_delayed_task_is_dropped_and_its_end_is_stored(app: Celeriac) -> None:
    one, other = delayed(app, group="g"), delayed(app)
    app.control.revoke(one.id)
    assert depths(app) == (0, 1)
    result = app.AsyncResult(one.id)
    assert (result.state, result.date_done is not None) == (states.REVOKED, True)
    with pytest.raises(TaskRevokedError, match="revoked"):
        result.get(timeout=10)
    assert app.AsyncResult(other.id).state == states.PENDING


def test_a_delayed_task_is_dropped_by_its_stamp(app: Celeriac) -> None:
    ours = delayed(app, stamped_headers=["tenant"], stamps={"tenant": ["acme"]})
    delayed(app, stamped_headers=["tenant"], stamps={"tenant": ["zebra"]})
    app.control.revoke_by_stamped_headers({"tenant": "acme"})
    assert depths(app) == (0, 1)
    assert app.AsyncResult(ours.id).state == states.REVOKED


def test_an_ignored_result_stays_ignored_and_an_ended_task_ended(app: Celeriac) -> None:
    quiet = app.send_task("quiet", queue="q", countdown=3600)
    failed, retried = delayed(app), delayed(app)
    app.sender.store_state(failed.id, states.FAILURE, ValueError("before"))
    app.sender.store_state(retried.id, states.RETRY, ValueError("before"))
    app.control.revoke([quiet.id, failed.id, retried.id])
    assert depths(app) == (0, 0)
    assert [app.AsyncResult(one).state for one in (quiet.id, failed.id, retried.id)] == [
        "PENDING",
        "FAILURE",
        "REVOKED",
    ]


def test_what_others_wait_for_is_left_to_a_worker_to_conclude(app: Celeriac) -> None:
    plain, locked = delayed(app, **{CRASHES: 1}), delayed(app, celeriac_unique="key")
    member = app.message("work", options={"countdown": 3600, "queue": "q"})
    member.body = encode_body((), {}, Embed(chord={"task": "work"}))
    app.sender.publish(member, {})
    app.control.revoke([plain.id, locked.id, member.id])
    assert depths(app) == (2, 0)

    async def claim() -> list[Delivery]:
        consumer = app.broker.consumer()
        await consumer.open("w", ["q"])
        claimed = await consumer.claim(10, 0.0)
        await consumer.close()
        return claimed

    claimed = asyncio.run(claim())
    headers = [delivery.message.headers for delivery in claimed if delivery.message is not None]
    assert [(one["id"], one[REVOKED], one["eta"]) for one in headers] == [
        (locked.id, True, None),
        (member.id, True, None),
    ]


def test_what_cannot_be_withdrawn_is_revoked_all_the_same(
    app: Celeriac, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = delayed(app)

    def fetch(_ids: object) -> dict[str, bytes]:
        raise BrokerUnavailable("gone")

    monkeypatch.setattr(app._reader, "fetch", fetch)
    app.control.revoke(one.id)
    assert "stay in their delay until they are due: gone" in caplog.text
    assert depths(app) == (0, 1)
    assert [revocation.id for revocation in revocations(app)] == [one.id]


def test_revoke_can_wait_for_the_end(app: Celeriac) -> None:
    one = delayed(app)
    app.AsyncResult(one.id).revoke(wait=True)
    assert app.AsyncResult(one.id).state == states.REVOKED
    app.AsyncResult("nobody").revoke(wait=True, timeout=0.01)
    app.AsyncResult("nobody").revoke_by_stamped_headers({"a": 1}, wait=True, timeout=0.01)

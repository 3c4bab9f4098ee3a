"""Our remote control, event receiver and command line on a worker of Celery's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.torture.servers.service import wait_until
from tests.interop.harness import Place
from tests.program import DEADLINE_S, ROOT

QUEUE = "controlled-celery"
NODE = "celery@theirs"
LONG_S = 60.0

pytestmark = pytest.mark.parametrize("place", ["redis", "classic"], indirect=True, scope="session")


@pytest.fixture(scope="module")
def app(place: Place) -> Iterator[Celeriac]:
    """The operator's program is ours, the worker is Celery's."""
    worker = place.celery_worker(QUEUE)
    yield place.our_app(QUEUE)
    worker.stop()


def ask(app: Celeriac, command: str, **arguments: Any) -> Any:
    """Ask Celery's worker alone, and wait for it as long as it takes."""
    return app.control.inspect(NODE, timeout=LONG_S)._request(command, **arguments)


def tell(app: Celeriac, command: str, *args: Any, **arguments: Any) -> Any:
    (reply,) = getattr(app.control, command)(*args, destination=[NODE], reply=True, timeout=LONG_S, **arguments)
    return reply[NODE]


def queues(app: Celeriac) -> set[str]:
    return {queue["name"] for queue in ask(app, "active_queues")}


def test_it_answers_every_question(app: Celeriac) -> None:
    asking = app.control.inspect(NODE, timeout=LONG_S)
    assert asking.ping() == {"ok": "pong"}
    assert asking.active() == asking.reserved() == asking.scheduled() == []
    assert "shop.note" in asking.registered()
    assert asking.stats()["pool"]["implementation"] == "celery.concurrency.solo:TaskPool"
    assert [queue["name"] for queue in asking.active_queues()] == [QUEUE]
    assert asking.query_task("unknown") == {}
    assert asking.conf()["task_default_queue"] == QUEUE
    assert asking.clock()["clock"] > 0
    assert "software -> celery" in asking.report()["ok"]
    assert set(asking.hello("me@ours")) == {"revoked", "clock"}
    assert asking._request("no_such") == {"error": "KeyError('no_such')"}
    matching = {"limit": 1, "timeout": LONG_S, "pattern": "celery@th*", "matcher": "glob"}
    assert app.control.inspect(**matching).ping() == {NODE: {"ok": "pong"}}


def test_it_does_what_it_is_told(app: Celeriac) -> None:
    assert tell(app, "rate_limit", "shop.echo", "100/s") == {"ok": "new rate limit set successfully"}
    assert tell(app, "rate_limit", "shop.nowhere", "1/s") == {"error": "unknown task"}
    assert tell(app, "time_limit", "shop.echo", soft=10, hard=20) == {"ok": "time limits set successfully"}
    assert tell(app, "add_consumer", "another") == {"ok": "add consumer another"}
    wait_until(lambda: "another" in queues(app), "it reads both")
    assert tell(app, "cancel_consumer", "another") == {"ok": "no longer consuming from another"}
    wait_until(lambda: queues(app) == {QUEUE}, "it reads one")


def test_what_we_revoke_is_revoked_there(app: Celeriac) -> None:
    assert tell(app, "revoke", "only-there") == {"ok": "tasks {'only-there'} flagged as revoked"}
    app.control.revoke(["everywhere", "as-well"])
    wait_until(lambda: {"only-there", "everywhere", "as-well"} <= set(ask(app, "revoked")), "it has heard of it")
    app.control.revoke("elsewhere", destination=["celery@other"])
    assert tell(app, "revoke", "last") == {"ok": "tasks {'last'} flagged as revoked"}
    assert "elsewhere" not in ask(app, "revoked")


def test_its_events_tell_the_state_of_the_cluster(app: Celeriac) -> None:
    state = app.events.State()
    receiver = app.events.Receiver(app.connection(), handlers={"*": state.event})
    listening = threading.Thread(target=receiver.capture, daemon=True)
    listening.start()
    try:
        wait_until(lambda: [worker.hostname for worker in state.alive_workers()] == [NODE], "a heartbeat is heard")
        assert tell(app, "enable_events") in ({"ok": "task events enabled"}, {"ok": "task events already enabled"})
        good = app.tasks["shop.echo"].delay(5)
        bad = app.send_task("shop.unknown")
        wait_until(lambda: {good.id, bad.id} <= {task.uuid for task in state.tasks.values() if task.ready}, "both end")
    finally:
        receiver.should_stop = True
        listening.join(DEADLINE_S)
    done, failed = state.tasks[good.id], state.tasks[bad.id]
    assert (done.name, done.state, done.result, done.worker) == ("shop.echo", "SUCCESS", "5", state.workers[NODE])
    assert failed.state == "FAILURE"
    assert state.workers[NODE].sw_ident == "py-celery"


def celeriac(app: Celeriac, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run our command line on this broker, as a program that has no module of the app's."""
    return subprocess.run(
        [sys.executable, "-m", "celeriac", "--broker", app.locations.broker, *arguments],
        cwd=ROOT,
        env={**os.environ, "CELERIAC_APP": ""},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def test_the_command_line(app: Celeriac) -> None:
    at_once = ["-d", NODE, "-t", str(LONG_S)]
    status = celeriac(app, "status", *at_once)
    assert (status.returncode, status.stdout) == (0, f"->  {NODE}: OK\n\n1 node online.\n"), status.stderr
    found = json.loads(celeriac(app, "inspect", "active_queues", "--json", *at_once).stdout)
    assert QUEUE in [queue["name"] for queue in found[NODE]]
    limited = celeriac(app, "control", "rate_limit", "shop.echo", "100/s", *at_once)
    assert limited.stdout == f"->  {NODE}: OK\n    new rate limit set successfully\n", limited.stderr
    nobody = celeriac(app, "inspect", "ping", "-d", "nobody@x", "-t", "0.1")
    assert (nobody.returncode, nobody.stderr) == (69, "Error: No nodes replied within time constraint\n")


def test_the_command_line_prints_events(app: Celeriac) -> None:
    command = [sys.executable, "-m", "celeriac", "--broker", app.locations.broker, "events", "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as printing:
        try:
            assert printing.stdout is not None
            event = json.loads(printing.stdout.readline())
            assert (event["type"], event["hostname"]) == ("worker-heartbeat", NODE)
        finally:
            printing.terminate()

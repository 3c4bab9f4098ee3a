"""Celery's command line in a mixed fleet: our worker answers every command, as Celery's worker beside it does."""

from __future__ import annotations

from typing import Any

from celery.worker.control import Panel

from celeriac.torture.servers.service import wait_until
from tests.fleet.pair import NODES, OURS_NODE, QUEUES, Pair
from tests.program import DEADLINE_S

SAID_ALIKE = (
    "inspect ping",
    "inspect query_task no-such-id",
    "inspect registered",
    "inspect registered max_retries",
    "control add_consumer commands-extra",
    "control cancel_consumer commands-extra",
    "control autoscale 3 1",
    "control disable_events",
    "control enable_events",
    "control enable_events",
    "control heartbeat",
    "control pool_grow 1",
    "control pool_shrink 1",
    "control rate_limit shop.add 10/m",
    "inspect registered rate_limit",
    "control rate_limit shop.unknown 10/m",
    "control rate_limit",
    "control rate_limit shop.add 0",
    "control time_limit shop.quiet 10 20",
    "control time_limit shop.unknown 10 20",
    "control revoke one",
    "control terminate TERM one",
    "control terminate",
    "control revoke_by_stamped_headers tenant=acme",
)
"""What both answer word for word."""


def shape(value: Any) -> Any:
    """Return the keys and types of a reply; of a list that of its members, where these are alike."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number"
    return type(value).__name__


def keys(value: Any) -> Any:
    """Return the names in a reply, but not what stands under them where that is no object."""
    if isinstance(value, list):
        return [keys(item) for item in value]
    return {key: keys(item) for key, item in value.items()} if isinstance(value, dict) else None


def test_every_inspect_command_has_an_answer(pair: Pair) -> None:
    commands = sorted(name for name, info in Panel.meta.items() if info.type == "inspect" and info.visible)
    assert "stats" in commands
    failed = {}
    for command in commands:
        ours, _theirs = pair.ask(f"inspect {command}")
        if isinstance(ours, dict) and "error" in ours:
            failed[command] = ours
    assert failed == {}


def test_answers_are_celerys_word_for_word(pair: Pair) -> None:
    different = [(command, *answers) for command in SAID_ALIKE if (answers := pair.ask(command))[0] != answers[1]]
    assert different == []


def test_answers_of_other_words(pair: Pair) -> None:
    for command in ("clock", "memsample", "memdump", "report"):
        ours, theirs = pair.ask(f"inspect {command}")
        assert shape(ours) == shape(theirs), command


def test_stats(pair: Pair) -> None:
    ours, theirs = pair.ask("inspect stats")
    assert keys({**ours, "total": {}}) == keys({**theirs, "total": {}})
    assert isinstance(ours["clock"], str)
    assert ours["pool"]["max-concurrency"] == theirs["pool"]["max-concurrency"] == 2
    assert shape(ours["rusage"]) == shape(theirs["rusage"])
    same = ("hostname", "port", "transport", "virtual_host", "userid")
    assert {name: ours["broker"][name] for name in same} == {name: theirs["broker"][name] for name in same}


def test_queues(pair: Pair) -> None:
    ours, theirs = pair.ask("inspect active_queues")
    assert [set(queue) for queue in ours] == [set(queue) for queue in theirs]
    assert set(ours[0]["exchange"]) == set(theirs[0]["exchange"])
    assert (ours[0]["name"], theirs[0]["name"]) == QUEUES


def test_settings(pair: Pair) -> None:
    ours, theirs = pair.ask("inspect conf")
    for name in ("task_default_queue_type", "worker_pool_restarts"):
        assert ours[name] == theirs[name]
    assert "guest:guest" not in str(ours)


def test_records_of_tasks(pair: Pair) -> None:
    gate = pair.fleet.gate()
    held = {
        queue: pair.app.tasks["shop.hold"].apply_async(
            (f"record-{queue}",), {"until": str(gate)}, queue=queue, priority=3
        )
        for queue in QUEUES
    }
    wait_until(lambda: all(map(len, pair.ask("inspect active"))), "both are running", deadline_s=DEADLINE_S)
    (ours,), (theirs,) = pair.ask("inspect active")
    assert shape(ours) == shape(theirs)
    assert ours["id"] == held[QUEUES[0]].id
    assert ours["kwargs"] == theirs["kwargs"] == {"until": str(gate)}
    assert ours["args"] == [f"record-{QUEUES[0]}"]
    assert ours["worker_pid"] in pair.ask("inspect stats")[0]["pool"]["processes"]
    ids = " ".join(result.id for result in held.values())
    for told, queue in zip(pair.ask(f"inspect query_task {ids}"), QUEUES, strict=True):
        ((told_id, (state, record)),) = told.items()
        assert (told_id, state, record["name"]) == (held[queue].id, "active", "shop.hold")
    gate.touch()
    for result in held.values():
        result.get(timeout=DEADLINE_S)


def test_revoked_tasks(pair: Pair) -> None:
    pair.ask("control revoke id-1 id-2")
    for told in pair.ask("inspect revoked"):
        assert {"id-1", "id-2"} <= set(told)


def test_status(pair: Pair) -> None:
    told = pair.fleet.celery_command("pair", "status")  # a process of its own
    assert "2 nodes online." in told
    for node in NODES:
        assert f"{node}: OK" in told


def test_who_is_not_there_and_what_is_not_known(pair: Pair) -> None:
    assert "pong" in pair.celery("inspect", "ping", "-d", OURS_NODE).output
    assert pair.celery("inspect", "no_such_command").code == 2
    silent = pair.celery("inspect", "ping", "-d", "nobody@fleet", "-t", "0.2")
    assert (silent.code, "No nodes replied" in silent.output) == (69, True)


def test_events_as_celery_dumps_them(pair: Pair) -> None:
    dump = pair.fleet.start(
        "dump",
        ["celery", "-A", "tests.fleet.celery_app", "events", "--dump"],
        "pair",
        variables={"PYTHONUNBUFFERED": "1"},
    )
    dump.wait_for(f"{OURS_NODE} [")
    pair.ask("control enable_events")
    result = pair.app.tasks["shop.add"].apply_async((1, 2), queue=QUEUES[0])
    for event in ("received", "started", "succeeded"):
        dump.wait_for(f"task {event}: shop.add({result.id})")
    dump.kill()


def test_shutdown(pair: Pair) -> None:
    worker = pair.fleet.worker("leaving@fleet", "pair-leaving", "-c", "1")
    answer = pair.celery("control", "shutdown", "-d", "leaving@fleet", "-t", "0.2")
    assert answer.code == 69, "shutdown has no reply, and Celery's command line wants one"
    assert worker.process.wait(DEADLINE_S) == 0

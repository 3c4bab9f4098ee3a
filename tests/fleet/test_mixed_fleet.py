"""One fleet of both kinds: workers share a queue, the members of a chord, and what they know of tasks revoked and limited."""

from __future__ import annotations

from typing import NamedTuple
from uuid import uuid4

import pytest

from celeriac import Celeriac, chord
from celeriac.exceptions import TaskRevokedError
from celeriac.torture.servers.service import wait_until
from tests.fleet.harness import OURS, THEIRS, Commands, Fleet
from tests.interop.harness import CeleryProducer
from tests.program import DEADLINE_S

QUEUE = "mixed"
NODES = {OURS: "ours@fleet", THEIRS: "theirs@fleet"}
MEMBERS = 60
NAP_S = 0.01
"""So that neither worker has run all before the other begins."""


class Mixed(NamedTuple):
    """Both workers on one queue, and who sends to it: a program of either kind."""

    fleet: Fleet
    commands: Commands
    app: Celeriac
    producer: CeleryProducer

    def workers_of(self, keys: list[str]) -> dict[str, str]:
        """Key -> the node that ran its task."""
        return {line.key: line.more["worker"] for line in self.fleet.journal.of("end") if line.key in keys}

    def until_told(self, command: str, node: str, told: set[str]) -> None:
        """Wait until an inspect command gives a list with all of these."""
        ask = self.commands.ask
        wait_until(lambda: told <= set(ask(command, node)[node]), f"{node} tells {told}", deadline_s=DEADLINE_S)


@pytest.fixture(scope="module")
def mixed(fleet: Fleet) -> Mixed:
    for kind, node in NODES.items():
        fleet.worker(node, QUEUE, "-c", "1", kind=kind)
    return Mixed(fleet, fleet.commands(THEIRS, QUEUE), fleet.our_app(QUEUE), fleet.celery_producer(QUEUE))


@pytest.mark.parametrize("sender", NODES)
def test_the_members_of_a_chord_run_on_both(mixed: Mixed, sender: str) -> None:
    keys = [f"{sender}-{mixed.fleet.key()}" for _ in range(MEMBERS)]
    if sender == OURS:
        header = [mixed.app.tasks["shop.note_where"].s(key, NAP_S) for key in keys]
        gathered = chord(header, mixed.app.tasks["shop.echo"].s()).apply_async().get(timeout=DEADLINE_S)
    else:
        gathered = mixed.producer.run_chord([{"key": key, "nap_s": NAP_S} for key in keys])
    assert gathered == keys
    workers = mixed.workers_of(keys)
    assert set(workers) == set(keys)
    assert set(workers.values()) == set(NODES.values())


@pytest.mark.parametrize("sender", NODES)
@pytest.mark.parametrize("runs_on", NODES)
def test_a_running_task_is_ended_by_each_client_on_each_worker(mixed: Mixed, sender: str, runs_on: str) -> None:
    queue = f"mixed-{runs_on}"
    mixed.commands.ask(f"control add_consumer {queue}", NODES[runs_on])
    key = mixed.fleet.key()
    held = mixed.app.tasks["shop.hold"].apply_async((key, "/no/such/file"), queue=queue)
    mixed.fleet.until_started(key)
    if sender == OURS:
        held.revoke(terminate=True)
    else:
        mixed.producer.revoke(held.id, True)
    with pytest.raises(TaskRevokedError):
        held.get(timeout=DEADLINE_S)


@pytest.mark.parametrize("sender", NODES)
def test_what_a_client_revokes_is_known_to_both_workers(mixed: Mixed, sender: str) -> None:
    result = mixed.app.tasks["shop.note"].apply_async(kwargs={"key": f"never-{sender}"}, countdown=1)
    if sender == OURS:
        result.revoke()
    else:
        mixed.producer.revoke(result.id, False)
    for node in NODES.values():
        mixed.until_told("inspect revoked", node, {result.id})
    with pytest.raises(TaskRevokedError):
        result.get(timeout=DEADLINE_S)
    assert not mixed.fleet.journal.ends(f"never-{sender}")


@pytest.mark.parametrize(("sender", "rate"), [(OURS, "5/m"), (THEIRS, "7/m")])
def test_a_rate_that_a_client_sets_holds_on_both(mixed: Mixed, sender: str, rate: str) -> None:
    if sender == OURS:
        # Without a destination it is kept for later workers, too: RabbitMQ has no place for that.
        destination = None if mixed.fleet.name == "redis" else list(NODES.values())
        mixed.app.control.rate_limit("shop.quiet", rate, destination=destination)
    else:
        mixed.producer.limit_rate("quiet", rate)
    for node in NODES.values():
        mixed.until_told("inspect registered", node, {f"shop.quiet [rate_limit={rate}]"})


def test_who_starts_later_is_told_what_is_revoked(mixed: Mixed) -> None:
    known_to_ours, known_to_theirs = str(uuid4()), str(uuid4())
    mixed.commands.ask(f"control revoke {known_to_ours}", NODES[OURS])
    mixed.commands.ask(f"control revoke {known_to_theirs}", NODES[THEIRS])
    for kind in NODES:
        later = mixed.fleet.worker(f"later-{kind}@fleet", "mixed-later", "-c", "1", kind=kind, mingles=True)
        mixed.until_told("inspect revoked", later.name, {known_to_ours, known_to_theirs})
        assert later.stop() == 0

"""The outbox in Django's databases: SQLite always, PostgreSQL and MariaDB where they answer."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from celeriac import Celeriac
from celeriac.cli.root import celeriac
from celeriac.cli.target import Target
from celeriac.client.task import Task
from celeriac.contrib.outbox import Outbox
from celeriac.exceptions import ArgumentError, ImproperlyConfigured
from tests.client.recording import RecordingBroker
from tests.contrib.django_site import Databases, manage, site_environment

ALIASES = ("default", "postgres", "mariadb")


class Rollback(Exception):
    pass


@pytest.fixture(params=ALIASES)
def alias(request: pytest.FixtureRequest, empty_databases: Databases) -> str:
    name: str = request.param
    if name not in empty_databases:
        pytest.skip(f"no {name} server answers")
    return name


@pytest.fixture
def atomic(empty_databases: Databases) -> Callable[..., Any]:
    from django.db import transaction

    made: Callable[..., Any] = transaction.atomic
    return made


@pytest.fixture
def add(django_app: Celeriac) -> Task[..., int]:
    @django_app.task(name="add")
    def add(x: int) -> int:
        return x

    return add


@pytest.fixture
def outbox(django_app: Celeriac) -> Outbox:
    outbox = django_app.outbox
    assert isinstance(outbox, Outbox)
    return outbox


def waiting(outbox: Outbox) -> list[str]:
    return [row.task_id for row in outbox.peek(1000)]


def sent(broker: RecordingBroker) -> list[str]:
    return [message.id for message in broker.sent.messages]


def relay_elsewhere(outbox: Outbox) -> int:
    """Relay in another thread, thus on connections of its own."""
    counts: list[int] = []

    def run() -> None:
        try:
            counts.append(outbox.relay().relay_all())
        finally:
            outbox.store.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    (count,) = counts
    return count


def test_a_row_is_part_of_its_transaction(
    alias: str, add: Task[..., int], broker: RecordingBroker, outbox: Outbox, atomic: Callable[..., Any]
) -> None:
    with atomic(using=alias):
        kept = add.apply_async_via_outbox((1,), using=alias)
        with pytest.raises(Rollback), atomic(using=alias):
            add.apply_async_via_outbox((2,), using=alias)
            raise Rollback
        if alias != "default":  # SQLite has one writer at a time, but a relay without work does not write
            assert relay_elsewhere(outbox) == 0
    with pytest.raises(Rollback), atomic(using=alias):
        add.apply_async_via_outbox((3,), using=alias)
        raise Rollback
    assert waiting(outbox) == [kept.id]
    assert relay_elsewhere(outbox) == 1
    assert waiting(outbox) == []
    assert sent(broker) == [kept.id]
    message = broker.sent.messages[0]
    assert message.headers["argsrepr"] == "(1,)"


def test_rows_that_one_relay_holds_are_passed_over_by_others(
    alias: str, add: Task[..., int], django_app: Celeriac, broker: RecordingBroker, outbox: Outbox
) -> None:
    django_app.conf.outbox_batch_max = 2
    ids = [add.apply_async_via_outbox((number,), using=alias).id for number in range(5)]
    with outbox.store.claim(2) as claim:
        assert [row.task_id for row in claim.rows] == ids[:2]
        # On SQLite one relay works at a time; elsewhere others take what is left.
        relayed = relay_elsewhere(outbox)
        # (MariaDB may lock more rows than it returns, where its optimizer prefers to sort; those wait their turn then.)
        assert relayed == {"default": 0, "postgres": 3}.get(alias, relayed)
        claim.published = [row.id for row in claim.rows]
    relay_elsewhere(outbox)
    assert waiting(outbox) == []
    assert sorted(sent(broker)) == sorted(ids[2:])  # ids of one millisecond are in no order


def test_a_claim_that_breaks_off_changes_nothing(alias: str, add: Task[..., int], outbox: Outbox) -> None:
    result = add.apply_async_via_outbox((1,), using=alias)
    with pytest.raises(Rollback), outbox.store.claim(10) as claim:
        claim.published = [row.id for row in claim.rows]
        raise Rollback
    assert waiting(outbox) == [result.id]


def test_a_program_can_write_while_a_relay_publishes(
    alias: str, add: Task[..., int], broker: RecordingBroker, outbox: Outbox, atomic: Callable[..., Any]
) -> None:
    first = add.apply_async_via_outbox((1,), using=alias)
    broker.sent.gate.clear()
    broker.sent.entered.clear()
    relay = outbox.relay()
    relay.start()
    try:
        assert broker.sent.entered.wait(30)
        with atomic(using=alias):
            second = add.apply_async_via_outbox((2,), using=alias)
    finally:
        broker.sent.gate.set()
        until(lambda: not waiting(outbox))
        relay.stop()
    assert sent(broker) == [first.id, second.id]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_can_not_be_published_is_shown_and_can_be_retried_and_purged(
    alias: str, add: Task[..., int], broker: RecordingBroker, outbox: Outbox
) -> None:
    from django.apps import apps

    rows = apps.get_model("celeriac", "OutboxMessage").objects.using(alias)
    bad, good, third = (add.apply_async_via_outbox((number,), using=alias) for number in range(3))
    kept = bytes(rows.get(task_id=bad.id).message)
    rows.filter(task_id=bad.id).update(message=b"rubbish")
    assert relay_elsewhere(outbox) == 3
    assert sent(broker) == [good.id, third.id]
    (row,) = outbox.peek(10)
    assert row.problem is not None
    assert row.problem.startswith("DecodeError")
    assert abs(row.created_at - time.time()) < 600
    state = outbox.state()
    assert (state.waiting, state.parked, state.oldest_at) == (0, 1, None)
    assert relay_elsewhere(outbox) == 0

    rows.filter(task_id=bad.id).update(message=kept)
    assert outbox.retry(["another"]) == 0
    assert outbox.retry([bad.id]) == 1
    assert outbox.state().waiting == 1
    assert relay_elsewhere(outbox) == 1

    ids = [add.apply_async_via_outbox((number,), using=alias).id for number in range(3)]
    oldest_at = outbox.state().oldest_at
    assert oldest_at is not None
    assert abs(oldest_at - time.time()) < 600
    assert outbox.purge([ids[1], "another"]) == 1
    assert waiting(outbox) == [ids[0], ids[2]]
    assert outbox.purge(everything=True) == 2
    assert outbox.purge([]) == 0


def test_one_relay_serves_several_databases(
    add: Task[..., int], broker: RecordingBroker, outbox: Outbox, empty_databases: Databases
) -> None:
    ids = {add.apply_async_via_outbox((1,), using=alias).id for alias in empty_databases for _ in range(2)}
    assert outbox.state().waiting == len(ids) == 2 * len(empty_databases)
    assert relay_elsewhere(outbox) == len(ids)
    assert set(sent(broker)) == ids


def test_a_database_without_relay_is_refused(add: Task[..., int], outbox: Outbox, atomic: Callable[..., Any]) -> None:
    from django.test import override_settings

    with override_settings(CELERIAC_OUTBOX_DATABASES=["second"]):
        add.delay_via_outbox(1)
        assert [row.task for row in outbox.peek(10)] == ["add"]
        with pytest.raises(ImproperlyConfigured, match=r"'default' has no outbox.*CELERIAC_OUTBOX_DATABASES.*second"):
            add.apply_async_via_outbox((1,), using="default")
    assert outbox.state().waiting == 1
    with override_settings(CELERIAC_OUTBOX_DATABASES=["sceond"]):
        with pytest.raises(ImproperlyConfigured, match="'sceond'"):
            add.delay_via_outbox(1)


def test_without_time_zones_the_age_is_right(add: Task[..., int], outbox: Outbox) -> None:
    from django.test import override_settings

    with override_settings(USE_TZ=False):
        add.delay_via_outbox(1)
        oldest_at = outbox.state().oldest_at
        assert oldest_at is not None
        assert abs(oldest_at - time.time()) < 600


def test_bad_arguments_write_no_row(add: Task[..., int], outbox: Outbox) -> None:
    with pytest.raises(ArgumentError):
        add.delay_via_outbox({1})
    assert waiting(outbox) == []


def test_a_database_in_memory_has_an_outbox_too(add: Task[..., int], broker: RecordingBroker, outbox: Outbox) -> None:
    """As Django's tests have it; there is no file to lock then."""
    from django.db import connections

    settings = connections["default"].settings_dict
    real = settings["NAME"]
    settings["NAME"] = "file:memorydb_default?mode=memory&cache=shared"
    try:
        result = add.delay_via_outbox(1)  # the connection that is open goes on to use the file
        with outbox.store.claim(1) as claim, outbox.store.claim(1) as second:
            assert [row.task_id for row in claim.rows] == [result.id]
            assert second.rows == []
    finally:
        settings["NAME"] = real


# -- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def environment(empty_databases: Databases, tmp_path: Path) -> dict[str, str]:
    return site_environment(empty_databases, f"sqlite:///{tmp_path}/broker.db")


def test_the_command_line_shows_relays_and_purges(
    add: Task[..., int], outbox: Outbox, environment: dict[str, str], empty_databases: Databases
) -> None:
    ids = [add.apply_async_via_outbox((1,), queue="mail").id for _ in range(3)]
    listed = manage(environment, "celeriac", "outbox", "list", "--json")
    shown = json.loads(listed.stdout)
    assert [message["id"] for message in shown["messages"]] == ids
    assert (shown["waiting"], shown["set_aside"], shown["messages"][0]["queue"]) == (3, 0, "mail")

    purged = manage(environment, "celeriac", "outbox", "purge", ids[0], "--force")
    assert purged.stdout == "1 message deleted\n", purged.stderr
    relayed = manage(environment, "celeriac", "outbox", "relay", "--once")
    assert relayed.stdout == "2 messages relayed\n", relayed.stderr
    assert waiting(outbox) == []
    with Celeriac("look", broker=environment["CELERIAC_BROKER_URL"], set_as_current=False) as look:
        admin = look.broker.admin()
        assert admin.depths(["mail"])[0].ready == 2
        admin.close()


def test_the_command_line_asks_before_it_deletes(django_app: Celeriac, add: Task[..., int], outbox: Outbox) -> None:
    target = Target()
    target.app_spec, target._app = "shop", django_app

    def run(*args: str) -> Any:
        return CliRunner().invoke(celeriac, ["outbox", *args], obj=target)

    add.delay_via_outbox(1)
    unsure = run("purge")
    assert unsure.exit_code == 2
    assert "--all" in unsure.output
    assert run("purge", "--all").exit_code == 1
    assert len(waiting(outbox)) == 1
    assert run("retry").output == "0 messages put back\n"
    table = run("list").output.split("\n")
    assert table[0].split("\t") == ["id", "task", "queue", "since", "problem"]
    assert table[1].split("\t")[1:3] == ["add", "celery"]
    assert "1 message wait" in table[2]
    assert run("purge", "--all", "--force").output == "1 message deleted\n"


def test_without_an_outbox_the_command_line_says_so(broker: RecordingBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    target = Target()
    target.app_spec, target._app = "shop", Celeriac("plain", broker=broker, set_as_current=False)
    shown = CliRunner().invoke(celeriac, ["outbox", "list"], obj=target)
    assert shown.exit_code == 2
    assert "INSTALLED_APPS" in shown.output

"""What a scheduler sends, and when; in virtual time."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from celeriac import group
from celeriac.beat import BeatLazyFunc, Schedule, ScheduleEntry, Scheduler
from celeriac.beat.operations import Line
from celeriac.client.unique import read_mark
from celeriac.core.headers import to_timestamp
from celeriac.exceptions import ArgumentError, ImproperlyConfigured, SchedulingError
from celeriac.schedules import BaseSchedule, crontab, schedstate
from celeriac.signals import before_task_publish
from tests.backends.sqlalchemy_places import Place as Database
from tests.beat.clockwork import Place, counted


def looks(scheduler: Scheduler) -> float:
    """Let it look until it wants to sleep, and return for how long."""
    for _ in range(10_000):
        if (wait_s := scheduler.tick()) > 0:
            return wait_s
    raise AssertionError("the scheduler never sleeps")


def runs(place: Place) -> Mapping[str, int]:
    """Return entry -> how many messages there were since the last time."""
    return {name: sum(ids.values()) for name, ids in counted(asyncio.run(place.sent())).items()}


def started(place: Place, schedule: Mapping[str, Any] | None = None) -> Scheduler:
    scheduler = Scheduler(place.app, schedule)
    looks(scheduler)
    return scheduler


def entry(schedule: Any = 10, **more: Any) -> dict[str, Any]:
    return {"task": "note", "schedule": schedule, **more}


def lines(place: Place) -> dict[str, Line]:
    with Schedule(place.app) as found:
        return {line.entry.name: line for line in found.lines()}


@pytest.mark.parametrize("in_one_step", [True, False])
def test_two_schedulers_send_each_tick_once(in_one_step: bool) -> None:
    place = Place(in_one_step=in_one_step, beat_schedule={"a": entry(10), "b": entry(crontab())})
    first, second = started(place), started(place)
    for _ in range(60):
        place.advance(10)
        looks(first)
        looks(second)
    assert runs(place) == {"a": 60, "b": 10}


def test_it_sleeps_until_the_next_tick_but_sees_changes_soon() -> None:
    place = Place(beat_schedule={"a": entry(3), "b": entry(3600)})
    scheduler = started(place)
    assert looks(scheduler) == 3
    place.advance(2.5)
    assert looks(scheduler) == 0.5
    far = Scheduler(place.app, {"b": entry(3600)})
    assert looks(far) == 5
    assert looks(Scheduler(place.app, {"b": entry(3600)}, max_interval=60)) == 60


@pytest.mark.parametrize(("misfire", "made_up"), [("once", 1), ("all", 6), ("skip", 0)])
def test_missed_ticks(misfire: str, made_up: int) -> None:
    place = Place(beat_schedule={"a": entry(100, misfire=misfire)}, beat_misfire_grace_s=20)
    scheduler = started(place)
    place.advance(650)
    looks(scheduler)
    assert runs(place).get("a", 0) == made_up
    place.advance(49)
    looks(scheduler)
    assert runs(place) == {}
    place.advance(1)
    looks(scheduler)
    assert runs(place) == {"a": 1}


def test_all_is_bounded_by_age_and_crontabs_by_their_deadline() -> None:
    settings: dict[str, Any] = {
        "beat_misfire": "all",
        "beat_misfire_all_max_s": 300,
        "beat_cron_starting_deadline": 130,
    }
    place = Place(beat_schedule={"interval": entry(100), "cron": entry(crontab())}, **settings)
    scheduler = started(place)
    place.advance(86_400)
    looks(scheduler)
    assert runs(place) == {"interval": 3, "cron": 2}


def test_a_crontab_that_is_too_late_is_left_out() -> None:
    place = Place(beat_schedule={"hourly": entry(crontab(0))}, beat_cron_starting_deadline=60)
    scheduler = started(place)
    wait_s = 3600 - place.clock.now % 3600
    place.advance(wait_s + 61)
    looks(scheduler)
    assert runs(place) == {}
    place.advance(3600 - 61 + 59)
    looks(scheduler)
    assert runs(place) == {"hourly": 1}


def test_runs_that_follow_each_other_soon_expire() -> None:
    entries = {
        "short": entry(30),
        "long": entry(61),
        "never": entry(30, expires=None),
        "own": entry(30, expires=5),
        "option": entry(30, options={"expires": 7}),
    }
    place = Place(beat_schedule=entries)
    scheduler = started(place)
    place.advance(61)
    looks(scheduler)
    found = {
        message.headers["periodic_task_name"]: to_timestamp(message.headers.get("expires"), "expires")
        for message in asyncio.run(place.sent())
    }
    now = place.clock.now
    assert {name: None if at is None else round(at - now) for name, at in found.items()} == {
        "short": 30,
        "long": None,
        "never": None,
        "own": 5,
        "option": 7,
    }


def test_an_entry_says_how_its_task_is_called() -> None:
    given = {"args": (BeatLazyFunc(lambda: 7), 2), "kwargs": {"x": 1}, "options": {"queue": "celery", "priority": 3}}
    place = Place(beat_schedule={"a": entry(10, **given)})
    scheduler = started(place)
    place.advance(10)
    looks(scheduler)
    (message,) = asyncio.run(place.sent())
    assert message.headers["argsrepr"] == "(7, 2)"
    assert message.headers["kwargsrepr"] == "{'x': 1}"
    assert message.headers["periodic_task_name"] == "a"
    assert message.priority == 6  # 3 of 9, where 0 is the most urgent


def test_a_bad_entry_disturbs_no_other(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(BaseSchedule):
        def next_after(self, instant: datetime) -> datetime:
            raise RuntimeError("no idea")

    entries = {
        "broken": entry(Broken()),
        "unwritable": entry(10, args=(object(),)),
        "astray": entry(10, options={"exchange": "nowhere", "routing_key": "x"}),
        "good": entry(10),
    }
    place = Place(beat_schedule=entries)
    scheduler = started(place)
    for _ in range(3):
        place.advance(10)
        looks(scheduler)
    assert runs(place) == {"good": 3}
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [name for name in entries for text in told if repr(name) in text] == ["broken", "unwritable", "astray"]


def test_the_program_s_own_schedules() -> None:
    place = Place()

    class Ours(BaseSchedule):
        """Ticks twice as far apart each time."""

        def next_after(self, instant: datetime) -> datetime:
            return instant + timedelta(seconds=20)

    class Celerys(BaseSchedule):
        def remaining_estimate(self, last_run_at: datetime) -> timedelta:
            return last_run_at + timedelta(seconds=30) - self.now()

        def is_due(self, last_run_at: datetime) -> schedstate:
            left_s = self.remaining_estimate(last_run_at).total_seconds()
            return schedstate(left_s <= 0, 30 if left_s <= 0 else left_s)

    place.app.conf.beat_schedule = {"ours": entry(Ours()), "celerys": entry(Celerys(app=place.app))}
    first, second = started(place), started(place)
    for _ in range(120):
        place.advance(1)
        looks(first)
        looks(second)
    assert runs(place) == {"ours": 6, "celerys": 4}


def test_unique_tasks_are_sent_when_their_key_is_free() -> None:
    place = Place(beat_schedule={"a": {"task": "alone", "schedule": 10, "expires": None}})
    place.app.task(name="alone", unique=True)(lambda: None)
    scheduler = started(place)
    for _ in range(3):
        place.advance(10)
        looks(scheduler)
    (message,) = asyncio.run(place.sent())
    assert read_mark(message.headers) is not None
    state = lines(place)["a"].state
    assert state is not None
    assert state.last == place.clock.now


def test_what_code_adds_before_and_after_settings_are_read() -> None:
    place = Place(beat_schedule={"a": entry(10)})
    app, task = place.app, place.app.tasks["note"]

    @app.on_after_configure.connect(weak=False)
    def add(sender: Any, **_: Any) -> None:
        sender.add_periodic_task(10.0, task.s(1), name="b", expires=9)
        sender.add_periodic_task(crontab(0), task.s(1).set(queue="q"), args=(0,), kwargs={"x": 2}, priority=4)

    app.finalize()
    found = Scheduler(app).own_entries()
    assert sorted(found) == ["a", "b", "note(1)"]
    assert found["b"].expires == 9
    other = found["note(1)"]
    assert (tuple(other.args), other.kwargs, other.options) == ((0, 1), {"x": 2}, {"queue": "q", "priority": 4})


def test_a_chain_is_sent_by_its_first_task() -> None:
    place = Place()
    note = place.app.tasks["note"]
    place.app.add_periodic_task(10, note.s(1) | note.s(2) | note.si(3), name="chain", countdown=0)
    scheduler = started(place)
    place.advance(10)
    looks(scheduler)
    (message,) = asyncio.run(place.sent())
    assert message.headers["argsrepr"] == "(1,)"
    assert [step["args"] for step in json.loads(message.body)[2]["chain"]] == [[3], [2]]
    with pytest.raises(ArgumentError, match="write a task that calls the workflow"):
        place.app.add_periodic_task(10, group(note.s(1)))
    with pytest.raises(ArgumentError, match="takes the signature of a task"):
        place.app.add_periodic_task(10, "note")  # type: ignore[arg-type]


def test_the_class_has_what_celery_s_has() -> None:
    place = Place(beat_schedule={"a": entry(10)})
    scheduler = Scheduler(place.app, lazy=True)
    added = scheduler.add(name="b", task="note", schedule=20)
    scheduler.update_from_dict({"c": entry(30)})
    assert added.name == "b"
    assert "memory://" in scheduler.info
    looks(scheduler)
    place.advance(60)
    looks(scheduler)
    assert {name: one.total_run_count for name, one in scheduler.schedule.items()} == {"a": 1, "b": 1, "c": 1}
    assert scheduler.schedule["a"].last_run_at is not None
    runs(place)
    scheduler.apply_entry(added)
    assert runs(place) == {"b": 1}
    with pytest.raises(SchedulingError, match="couldn't apply scheduled task bad"):
        scheduler.apply_entry(ScheduleEntry(name="bad", task="note", schedule=added.schedule, args=[object()]))
    scheduler.close()
    scheduler.close()


def test_tools_may_wrap_how_an_entry_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Scheduler.apply_entry

    def wrapped(*args: Any, **kwargs: Any) -> None:  # as sentry-sdk does it
        _scheduler, one = args
        one.options["headers"] = {**one.options.get("headers", {}), "monitor": one.name}
        plain(*args, **kwargs)

    monkeypatch.setattr(Scheduler, "apply_entry", wrapped)
    place = Place(beat_schedule={"a": entry(10)})
    scheduler = started(place)
    place.advance(10)
    looks(scheduler)
    (message,) = asyncio.run(place.sent())
    assert message.headers["monitor"] == "a"
    assert message.headers["periodic_task_name"] == "a"


def test_a_tick_that_a_subclass_does_not_let_through_is_left_out() -> None:
    class Choosy(Scheduler):
        def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
            if entry.name != "a":
                super().apply_entry(entry, producer=producer)

    place = Place(beat_schedule={"a": entry(10), "b": entry(10)})
    scheduler = Choosy(place.app)
    looks(scheduler)
    place.advance(10)
    looks(scheduler)
    place.advance(10)
    assert looks(scheduler) > 0
    assert runs(place) == {"b": 2}


def test_a_database_remembers(any_database: Database) -> None:
    any_database.empty()
    place = Place(beat_schedule={"a": entry(10)}, beat_store_url=any_database.backend_url)
    first, second = started(place), started(place)
    with Schedule(place.app) as found:
        found.add("b", entry(15))
    for _ in range(12):
        place.advance(5)
        looks(first)
        looks(second)
    assert runs(place) == {"a": 6, "b": 3}
    assert lines(place)["b"].state is not None
    for scheduler in (first, second):
        scheduler.close()


def test_a_clock_that_was_wrong_is_told_and_mended(caplog: pytest.LogCaptureFixture) -> None:
    place = Place(beat_schedule={"a": entry(10)})
    scheduler = started(place)
    place.advance(86_400)
    looks(scheduler)
    place.advance(-86_000)
    looks(scheduler)
    place.advance(100)
    looks(scheduler)
    assert runs(place) == {"a": 1}
    assert sum("which is still to come" in record.getMessage() for record in caplog.records) == 1
    with Schedule(place.app) as found:
        found.pause("a")
        found.resume("a")
    place.advance(10)
    looks(scheduler)
    assert runs(place) == {"a": 1}


def test_pause_resume_and_run_now() -> None:
    place = Place(beat_schedule={"a": entry(10), "off": entry(10, enabled=False)})
    scheduler = started(place)
    with Schedule(place.app) as found:
        assert found.pause("a")
        assert not found.pause("a")
        place.advance(100)
        looks(scheduler)
        assert runs(place) == {}
        assert [line.next_at for line in found.lines()] == [None, None]
        assert found.resume("a")
        assert not found.resume("a")
        looks(scheduler)
        assert runs(place) == {}
        place.advance(10)
        looks(scheduler)
        assert runs(place) == {"a": 1}
        task_id = found.run("off")
        assert [message.id for message in asyncio.run(place.sent())] == [task_id]
        with pytest.raises(SchedulingError, match="there is no schedule entry 'x'; there are: a, off"):
            found.pause("x")


def test_an_entry_that_is_paused_while_its_tick_is_sent_is_sent_once() -> None:
    place = Place(in_one_step=False, beat_schedule={"a": entry(10)})
    first, second = started(place), started(place)

    def pause(**_: Any) -> None:
        with Schedule(place.app) as schedule:
            schedule.pause("a")

    before_task_publish.connect(pause)
    try:
        place.advance(10)
        looks(first)
    finally:
        before_task_publish.disconnect(pause)
    for _ in range(5):
        looks(first)
        looks(second)
        place.advance(10)
    assert runs(place) == {"a": 1}
    assert not lines(place)["a"].is_on
    with Schedule(place.app) as schedule:
        assert schedule.resume("a")
    place.advance(10)
    looks(second)
    assert runs(place) == {"a": 1}


def test_entries_are_added_and_removed_while_schedulers_run() -> None:
    place = Place(beat_schedule={"a": entry(10)})
    scheduler = started(place)
    with Schedule(place.app) as found:
        found.add("b", entry(crontab.from_string("*/5 * * * *", tz="Asia/Tokyo"), args=[1], jitter=0))
        looks(scheduler)
        place.advance(300)
        looks(scheduler)
        assert runs(place) == {"a": 1, "b": 1}
        with pytest.raises(SchedulingError, match="--replace"):
            found.add("b", entry(10))
        found.add("b", entry(5), replacing=True)
        place.advance(5)
        looks(scheduler)
        assert runs(place) == {"b": 1}
        found.remove("b")
        place.advance(10)
        looks(scheduler)
        assert runs(place) == {"a": 1}
        with pytest.raises(SchedulingError, match="'a' comes from the settings"):
            found.remove("a")
        with pytest.raises(ImproperlyConfigured, match="schedule entry 'c' can't be kept in a store"):
            found.add("c", entry(10, args=[object()]))


def test_what_is_gone_is_forgotten_in_time() -> None:
    place = Place(beat_schedule={"a": entry(3600), "b": entry(3600)}, beat_forget_s=10 * 86_400)
    looks(Scheduler(place.app))
    place.app.conf.beat_schedule = {"a": entry(3600)}
    scheduler = Scheduler(place.app)
    for day in range(1, 15):
        place.advance(86_400)
        looks(scheduler)
        assert len(scheduler.board.read(1.0)) == (2 if day <= 10 else 1)


def test_schedulers_under_one_name_with_other_entries_forget_none_of_each_others() -> None:
    rare = {"rare": entry(40 * 86_400), "paused": entry(crontab("0", "0", "1", "1"))}
    place = Place(beat_schedule=rare)
    theirs, ours = started(place), started(place, {"hourly": entry(3600)})
    with Schedule(place.app) as schedule:
        schedule.pause("paused")
    for _ in range(85 * 4):
        place.advance(6 * 3600)
        looks(ours)
        looks(theirs)
    assert runs(place)["rare"] == 2
    assert not lines(place)["paused"].is_on


def test_schedulers_under_two_names_know_nothing_of_each_other() -> None:
    place = Place(beat_schedule={"a": entry(10)})
    first = started(place)
    place.app.conf.beat_namespace = "other"
    second = started(place)
    place.advance(10)
    looks(first)
    looks(second)
    assert runs(place) == {"a": 2}


def test_the_zone_of_the_app_is_that_of_crontabs() -> None:
    place = Place(beat_schedule={"a": entry("30 9 * * *")}, timezone="Asia/Kathmandu")
    assert lines(place)["a"].next_at is not None
    with Schedule(place.app) as found:
        assert next(found.coming("a")).isoformat().endswith("T09:30:00+05:45")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (7, "'a': wanted is a dict with 'task' and 'schedule'"),
        ({"task": "note"}, "'a' has no 'schedule'"),
        ({"schedule": 3}, "'task' is the name of a task, not None"),
        (entry(10, shedule=3), "unknown key 'shedule'; did you mean 'schedule'"),
        (entry("* * *"), "'a': crontab .* has 3 fields"),
        (entry(0), "'a': an interval of 0 s: it must be longer than 0"),
        (entry(crontab), "'schedule' is seconds, a timedelta"),
        (entry(10, args="ab"), "'args' is a list or a tuple, not 'ab'"),
        (entry(10, kwargs=[1]), "'kwargs' is a dict"),
        (entry(10, misfire="maybe"), "'misfire' is one of skip, once, all"),
        (entry(10, jitter=-1), "'jitter' is seconds, 0 or more"),
        (entry(10, expires=3, options={"expires": 4}), "say it once"),
        ({"task": "typed", "schedule": 10, "args": (1, 2)}, "'a': typed.. takes"),
    ],
)
def test_what_is_wrong_with_an_entry_is_told_at_the_start(given: Any, told: str) -> None:
    place = Place(beat_schedule={"a": given})
    place.app.task(name="typed")(lambda x: x)
    with pytest.raises(ImproperlyConfigured, match=told):
        Scheduler(place.app)


def test_unique_tasks_whose_store_is_away_keep_no_other_waiting() -> None:
    place = Place(
        beat_schedule={"a": {"task": "alone", "schedule": 10, "expires": None}, "b": entry(10)},
        beat_store_url="memory://",
        coordination_url="redis://127.0.0.1:1/0",
        publish_timeout_s=0.2,
    )
    place.app.task(name="alone", unique=True)(lambda: None)
    scheduler = started(place)
    place.advance(10)
    looks(scheduler)
    assert runs(place) == {"b": 1}
    state = lines(place)["a"].state
    assert state is not None
    assert state.runs == 0

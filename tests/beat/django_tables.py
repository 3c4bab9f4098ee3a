"""A program: our scheduler on django-celery-beat's tables, whose rows the real package's models write; prints what happened, as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime
from typing import Any

import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django_celery_beat"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    USE_TZ=sys.argv[1] == "zones",
    TIME_ZONE="Europe/Vienna",
    MIGRATION_MODULES={"django_celery_beat": None},  # its tables as they are now, without their history
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()

from django.core.management import call_command  # noqa: E402
from django.utils import timezone  # noqa: E402
from django_celery_beat.models import (  # noqa: E402
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from celeriac.beat import Scheduler, make_scheduler  # noqa: E402
from tests.beat.clockwork import Place, counted  # noqa: E402

call_command("migrate", run_syncdb=True, verbosity=0)
found: dict[str, Any] = {}

place = Place(
    beat_scheduler="django_celery_beat.schedulers:DatabaseScheduler",
    beat_schedule={"own": {"task": "note", "schedule": 60.0}},
)
place.clock.now += 25  # five seconds after a full minute


def moment(seconds: float) -> datetime:
    instant = datetime.fromtimestamp(place.clock.now + seconds, UTC)
    return instant if settings.USE_TZ else timezone.make_naive(instant)


def row(name: str, **values: Any) -> PeriodicTask:
    made: PeriodicTask = PeriodicTask.objects.create(name=name, task="note", **values)
    return made


def looks(scheduler: Scheduler) -> None:
    for _ in range(1000):
        if scheduler.tick() > 0:
            return
    raise AssertionError("the scheduler never sleeps")


def runs() -> dict[str, int]:
    return {name: sum(ids.values()) for name, ids in counted(asyncio.run(place.sent())).items()}


def pass_time(seconds: int, step: int = 10) -> dict[str, int]:
    for _ in range(seconds // step):
        place.advance(step)
        looks(first)
        looks(second)
    return runs()


ten = IntervalSchedule.objects.create(every=10, period=IntervalSchedule.SECONDS)
minutely = CrontabSchedule.objects.create(timezone="Asia/Kathmandu")
nine = CrontabSchedule.objects.create(minute="30", hour="9", timezone="Asia/Kathmandu")
row("interval", interval=ten, args="[1]", kwargs='{"x": 2}', queue="celery", priority=4, expire_seconds=99)
row("crontab", crontab=minutely)
row("nine", crontab=nine)
row("sun", solar=SolarSchedule.objects.create(event="sunset", latitude="52.5", longitude="13.4"))
row("clocked", clocked=ClockedSchedule.objects.create(clocked_time=moment(35)), one_off=True)
row("once", interval=ten, one_off=True)
row("disabled", interval=ten, enabled=False)
row("later", interval=ten, start_time=moment(95))
row("ends", interval=ten, expires=moment(35))
row("broken", interval=ten, args="no JSON")

PeriodicTask.objects.update(date_changed=moment(0))

first, second = make_scheduler(place.app), make_scheduler(place.app)
looks(first)
looks(second)
found["kind"] = type(first).__name__
place.advance(10)
looks(first)
sent = asyncio.run(place.sent())
message = next(one for one in sent if one.headers["periodic_task_name"] == "interval")
found["call"] = [message.headers["argsrepr"], message.headers["kwargsrepr"], message.headers["expires"] is not None]
found["first"] = sorted(one.headers["periodic_task_name"] for one in sent)
found["runs"] = pass_time(110)

with_rows = {one.name: one for one in PeriodicTask.objects.all()}
found["enabled"] = sorted(name for name, one in with_rows.items() if one.enabled)
found["count"] = with_rows["interval"].total_run_count
late = with_rows["interval"].last_run_at - moment(0)
found["late_s"] = abs(late.total_seconds())
found["zone"] = (
    first.own_entries()["nine"].schedule.next_after(datetime.fromtimestamp(place.clock.now, UTC)).strftime("%H:%M %z")
)

# Edited while the schedulers run; the marker tells them.
changed = with_rows["interval"]
changed.enabled = False
changed.save()
with_rows["crontab"].delete()
row("new", interval=ten)
PeriodicTask.objects.filter(name="new").update(date_changed=moment(0))
found["edited"] = pass_time(60)
place.advance(3600)
again = PeriodicTask.objects.get(name="interval")
again.enabled = True
again.save()
PeriodicTask.objects.filter(name="interval").update(date_changed=moment(0))
once = PeriodicTask.objects.get(name="once")
once.enabled = True
once.save()
PeriodicTask.objects.filter(name="once").update(date_changed=moment(0))
looks(first)
found["enabled again"] = runs().get("interval", 0)
found["goes on"] = {name: count for name, count in pass_time(30).items() if name in ("interval", "once")}
print(json.dumps(found))

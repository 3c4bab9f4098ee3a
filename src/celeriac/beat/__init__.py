"""The scheduler: sends tasks when their time has come. Celery's `celery.beat`."""

from celeriac.beat.choosing import make_scheduler
from celeriac.beat.entry import BeatLazyFunc, ScheduleEntry
from celeriac.beat.operations import Schedule
from celeriac.beat.scheduler import Scheduler
from celeriac.beat.service import EmbeddedService, Service
from celeriac.exceptions import SchedulingError

PersistentScheduler = Scheduler
"""Celery's name for a scheduler that remembers, as each does here."""

__all__ = [
    "BeatLazyFunc",
    "EmbeddedService",
    "PersistentScheduler",
    "Schedule",
    "ScheduleEntry",
    "Scheduler",
    "SchedulingError",
    "Service",
    "make_scheduler",
]

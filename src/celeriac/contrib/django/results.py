"""The result backend `django-db`: results in the tables of django-celery-results, where its models and admin pages find them.

`result_backend = "django-db"` with `django_celery_results` in INSTALLED_APPS, migrated.  Its own backend class is not used; rows are the
same, so that workers of both kinds share them.  Chords are counted in its table `ChordCounter`, in rows of our own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar

import django.db
from django.apps import apps
from django.db import connections, router, transaction

from celeriac.contrib.django.results_chords import Chords
from celeriac.contrib.django.results_rows import Documents, group_fields, task_fields
from celeriac.core.effects import Record
from celeriac.core.settings import Settings
from celeriac.core.states import FAILURE, READY_STATES, SUCCESS
from celeriac.core.workflow import ChordOpening, ChordState, Collected, EndedMember, Part
from celeriac.exceptions import BackendStoreError, BackendUnavailable, ImproperlyConfigured
from celeriac.wire import chord_part, result_meta
from celeriac.wire.result_meta import ResultMeta

T = TypeVar("T")

PACKAGE: Final = "django_celery_results"
SHOWN: Final = "django-db"
SWEEP_S: Final = 3600.0
"""So often a worker deletes what has expired."""
_TRIES: Final = 5
_REFUSAL_MAX_BYTES: Final = 64 * 1024


class DjangoResults:
    """Results and chords in Django's database, by the connections of the thread that calls.

    Blocking. Raises `BackendUnavailable` when the database can't be reached.
    """

    def __init__(self, settings: Settings) -> None:
        if not apps.ready:
            raise ImproperlyConfigured(f"result backend {SHOWN}: Django is not set up yet; call django.setup() first")
        if not apps.is_installed(PACKAGE):
            raise ImproperlyConfigured(
                f"result backend {SHOWN} keeps results in the tables of django-celery-results: pip install it, add {PACKAGE!r} to"
                " INSTALLED_APPS, and run `manage.py migrate`"
            )
        self._documents = Documents(settings)
        self._expires_s = settings.result_expires
        self._tasks, self._groups, self._counters = (
            apps.get_model(PACKAGE, name) for name in ("TaskResult", "GroupResult", "ChordCounter")
        )
        self._swept_at = 0.0

    # -- results ------------------------------------------------------------------------------------------------------

    def fetch(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the stored documents of those ids that have one."""
        return self._read(lambda: {row.task_id: self._documents.of_task(row) for row in self._rows(self._tasks, ids)})

    def stands(self, ids: Sequence[str]) -> dict[str, tuple[str, datetime]]:
        """Return state and time of last change of those that have a result."""
        return self._read(
            lambda: {
                task_id: (status, done)
                for task_id, status, done in self._rows(self._tasks, ids).values_list("task_id", "status", "date_done")
            }
        )

    def store(self, records: Sequence[Record]) -> None:
        """Store records, a stored SUCCESS stays; what the database does not take is replaced by a record that says so."""
        try:
            self._write(lambda: self._store_all(records))
        except django.db.DatabaseError:
            for record in records:  # one that is refused must hold up no other
                try:
                    self._write(partial(self._store_all, [record]))
                except django.db.DatabaseError as error:
                    self._write(partial(self._store_all, [_refused_record(record, error)]))
        self._sweep()

    def _store_all(self, records: Sequence[Record]) -> None:
        rows, now = self._manager(self._tasks), datetime.now(UTC)
        for record in sorted(records, key=lambda record: record.id):
            fields = task_fields(record, now)
            if not rows.filter(task_id=record.id).exclude(status=SUCCESS).update(**fields):
                rows.get_or_create(task_id=record.id, defaults=fields)

    def forget(self, ids: Sequence[str]) -> None:
        """Delete results. Idempotent."""
        self._write(lambda: self._manager(self._tasks).filter(task_id__in=list(ids)).delete())

    def save_group(self, group_id: str, payload: bytes, expires_s: float | None) -> None:
        """Keep the document of a group. Idempotent."""
        fields = group_fields(payload)
        self._write(lambda: self._manager(self._groups).update_or_create(group_id=group_id, defaults=fields))

    def fetch_group(self, group_id: str) -> bytes | None:
        """Return the document of a saved group."""
        row = self._read(lambda: self._manager(self._groups).filter(group_id=group_id).first())
        return None if row is None else self._documents.of_group(row)

    def forget_group(self, group_id: str) -> None:
        """Delete the document of a saved group. Idempotent."""
        self._write(lambda: self._manager(self._groups).filter(group_id=group_id).delete())

    # -- chords -------------------------------------------------------------------------------------------------------

    def open_chords(self, openings: Sequence[ChordOpening]) -> None:
        """Set the sizes of chords. Idempotent."""
        if openings:
            self._write(lambda: self._chords.open_all(openings, time.time()))

    def extend_chord(self, group_id: str, member_id: str, expires_s: float | None) -> None:
        """Have an open chord wait for one more member. Idempotent for each `member_id`."""
        self._write(lambda: self._chords.extend(group_id, member_id, expires_s, time.time()))

    def join(self, parts: Sequence[Part]) -> list[bool]:
        """Add parts to their chords; see `ResultWriter.join`."""
        if not parts:
            return []
        try:
            return self._write(lambda: self._chords.join(parts, time.time()))
        except django.db.DatabaseError:
            if len(parts) > 1:
                return [self.join([part])[0] for part in parts]
            refused = [_refused_part(parts[0])]
            return self._write(lambda: self._chords.join(refused, time.time()))

    def chords(self, group_ids: Sequence[str] | None = None, limit: int = 100) -> list[ChordState]:
        """Return open chords, those first that have seen no progress for longest."""
        return self._read(lambda: self._chords.states(group_ids, limit, time.time()))

    def collect(self, group_id: str) -> Collected:
        """Return the parts of a chord."""
        return self._read(lambda: self._chords.collect(group_id, time.time()))

    def close_chords(self, group_ids: Sequence[str]) -> None:
        """Forget all but that these chords are closed. Idempotent."""
        if group_ids:
            self._write(lambda: self._chords.close(group_ids, time.time()))

    # -- how ----------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Leave the connections alone: they are Django's."""

    def close_own_connections(self) -> None:
        """Close this thread's connections, where the thread is nobody else's."""
        connections.close_all()

    @property
    def _chords(self) -> Chords:
        return Chords(self._manager(self._counters))

    def _manager(self, model: Any) -> Any:
        return model._base_manager.db_manager(router.db_for_write(model))

    def _rows(self, model: Any, ids: Sequence[str]) -> Any:
        return self._manager(model).filter(task_id__in=list(ids))

    def _sweep(self) -> None:
        now = time.monotonic()
        if self._expires_s and (not self._swept_at or now - self._swept_at > SWEEP_S):
            self._swept_at = now
            before = datetime.now(UTC) - timedelta(seconds=self._expires_s)
            for model in (self._tasks, self._groups):
                self._write(self._manager(model).filter(date_done__lt=before).delete)
            self._write(lambda: self._chords.expire(time.time()))

    def _read(self, work: Callable[[], T]) -> T:
        return self._run(work)

    def _write(self, work: Callable[[], T]) -> T:
        alias = router.db_for_write(self._tasks)

        def atomically() -> T:
            with transaction.atomic(using=alias):
                return work()

        return self._run(atomically)

    def _run(self, work: Callable[[], T]) -> T:
        """Do it again after a conflict with somebody else or on a connection that had died, but not inside of another's transaction."""
        connection = connections[router.db_for_write(self._tasks)]
        tries = 1 if connection.in_atomic_block else _TRIES
        for left in reversed(range(tries)):
            try:
                return work()
            except (django.db.OperationalError, django.db.InterfaceError) as error:
                if not left:
                    raise BackendUnavailable(f"result backend {SHOWN}: {error}") from error
                if not connection.in_atomic_block:
                    connection.close_if_unusable_or_obsolete()
            except django.db.IntegrityError:  # somebody made the same row at the same time
                if not left:
                    raise
        raise AssertionError("unreachable")


def _refused_record(record: Record, why: Exception) -> Record:
    """Return a record that says why the real one is missing: a failure, where the task had ended."""
    error = BackendStoreError(
        f"the result of task {record.id} could not be stored: the database refused it ({why})"[:1000]
    )
    state = FAILURE if record.state in READY_STATES else record.state
    meta = ResultMeta(status=state, result=error if state == FAILURE else str(error), task_id=record.id)
    return Record(record.id, state, result_meta.encode(meta, max_bytes=_REFUSAL_MAX_BYTES), record.expires_s)


def _refused_part(part: Part) -> Part:
    """Return the part of a member whose result could not be kept: a failed one, so that the chord ends."""
    error = BackendStoreError(
        f"the result of task {part.member_id} could not be kept for its chord: the database refused it"
    )
    payload = chord_part.encode(EndedMember(part.member_id, FAILURE, error))
    return Part(part.group_id, part.member_id, part.index, payload, part.expires_s, part.body)

"""The outbox in Django's databases."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final

from django.conf import settings
from django.db import connections, models, transaction
from django.db.models import Count, Min, Q

from celeriac.contrib.django.models import OutboxMessage
from celeriac.contrib.outbox import Claim, OutboxRow, OutboxState
from celeriac.contrib.outbox_turn import RelayTurn
from celeriac.exceptions import ImproperlyConfigured

DATABASES_SETTING: Final = "CELERIAC_OUTBOX_DATABASES"

WAITING: Final = Q(problem__isnull=True)


class DjangoOutboxStore:
    """The table `celeriac_outbox` in each database that CELERIAC_OUTBOX_DATABASES lists; `default` if it does not exist.

    Relays claim rows by `SELECT ... FOR UPDATE SKIP LOCKED`; where the database has no such thing, one relay works at a time.
    """

    def __init__(self) -> None:
        self._turn = RelayTurn()

    def add(self, row: OutboxRow, using: str | None = None) -> None:
        """Insert a row in the current transaction of the database `using`.

        Raises `ImproperlyConfigured` for a database whose outbox nobody relays.
        """
        databases = _databases()
        alias = using or databases[0]
        if alias not in databases:
            raise ImproperlyConfigured(
                f"calling task {row.task!r}: the database {alias!r} has no outbox that is relayed; name it in"
                f" {DATABASES_SETTING} (now: {', '.join(databases)}) and migrate it"
            )
        OutboxMessage(
            task_id=row.task_id,
            task=row.task,
            queue=row.queue,
            message=row.message,
            created_at=_moment(row.created_at),
        ).save(using=alias, force_insert=True)

    @contextmanager
    def claim(self, limit: int) -> Iterator[Claim]:
        """Hold up to `limit` rows of the first database that has some; see `OutboxStore.claim`."""
        *others, last = _databases()
        for alias in others:
            with self._claim_in(alias, limit) as claim:
                if claim.rows:
                    yield claim
                    return
        with self._claim_in(last, limit) as claim:
            yield claim

    @contextmanager
    def _claim_in(self, alias: str, limit: int) -> Iterator[Claim]:
        waiting = _rows(alias).filter(WAITING).order_by("id")
        features = connections[alias].features
        if features.has_select_for_update:
            # The locks end with the transaction, also when this process does.
            locked = waiting.select_for_update(skip_locked=features.has_select_for_update_skip_locked)
            with transaction.atomic(using=alias):
                claim = Claim([_row(message) for message in locked[:limit]])
                yield claim
                _apply(alias, claim)
            return
        with self._turn.taken(str(connections[alias].settings_dict["NAME"])) as alone:
            claim = Claim([_row(message) for message in waiting[:limit]] if alone else [])
            yield claim
            if claim.published or claim.parked:
                with transaction.atomic(using=alias):
                    _apply(alias, claim)

    def state(self) -> OutboxState:
        """Count what waits in all databases."""
        total = OutboxState(0, 0)
        for alias in _databases():
            found = _rows(alias).aggregate(
                waiting=Count("pk", filter=WAITING),
                parked=Count("pk", filter=~WAITING),
                oldest_at=Min("created_at", filter=WAITING),
            )
            total.waiting += found["waiting"]
            total.parked += found["parked"]
            if found["oldest_at"] is not None:
                oldest_at = found["oldest_at"].timestamp()
                total.oldest_at = oldest_at if total.oldest_at is None else min(total.oldest_at, oldest_at)
        return total

    def peek(self, limit: int) -> list[OutboxRow]:
        """Return the oldest rows of each database, with or without problem."""
        rows = chain.from_iterable(_rows(alias).order_by("id")[:limit] for alias in _databases())
        return [_row(message) for message in rows][:limit]

    def retry(self, task_ids: Collection[str] = ()) -> int:
        """Take the problem from the rows of these tasks, from all rows if none is named; return how many."""
        return sum(
            _named(_rows(alias).exclude(WAITING), task_ids, everything=not task_ids).update(problem=None)
            for alias in _databases()
        )

    def purge(self, task_ids: Collection[str] = (), *, everything: bool = False) -> int:
        """Delete the rows of these tasks, or all; return how many."""
        return sum(_named(_rows(alias), task_ids, everything=everything).delete()[0] for alias in _databases())

    def close(self) -> None:
        """Close the calling thread's connections; the next use opens new ones. Idempotent."""
        for alias in _databases():
            connections[alias].close()


def _databases() -> Sequence[str]:
    aliases: Sequence[str] = getattr(settings, DATABASES_SETTING, None) or ("default",)
    for alias in aliases:
        if alias not in connections.settings:
            raise ImproperlyConfigured(f"{DATABASES_SETTING} lists {alias!r}, which is none of Django's DATABASES")
    return aliases


def _rows(alias: str) -> models.QuerySet:
    return OutboxMessage.objects.using(alias)


def _named(rows: models.QuerySet, task_ids: Collection[str], *, everything: bool) -> models.QuerySet:
    return rows if everything else rows.filter(task_id__in=task_ids)


def _apply(alias: str, claim: Claim) -> None:
    if claim.published:
        _rows(alias).filter(pk__in=claim.published).delete()
    for row_id, problem in claim.parked.items():
        _rows(alias).filter(pk=row_id).update(problem=problem)


def _row(message: Any) -> OutboxRow:
    return OutboxRow(
        task_id=message.task_id,
        task=message.task,
        queue=message.queue,
        message=bytes(message.message),  # a memoryview on PostgreSQL
        created_at=message.created_at.timestamp(),
        id=message.pk,
        problem=message.problem,
    )


def _moment(timestamp: float) -> datetime:
    """Return a time as the database takes it: with a zone, unless the program has USE_TZ = False."""
    if settings.USE_TZ:
        return datetime.fromtimestamp(timestamp, UTC)
    return datetime.fromtimestamp(timestamp)  # noqa: DTZ006 - what Django asks for then

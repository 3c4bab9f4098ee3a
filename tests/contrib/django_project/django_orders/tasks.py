"""Tasks of the app, shared by whatever app the project has."""

from __future__ import annotations

import os
import time
from typing import Any

from django.db import connection, connections, transaction

from celeriac import shared_task
from celeriac.exceptions import Ignore, Reject

from .models import Entry

if os.environ.get("SHOP_QUERY_AT_START"):
    # What many programs do by accident: the process that executors are forked from has a connection then.
    with connections[os.environ["SHOP_QUERY_AT_START"]].cursor() as _cursor:
        _cursor.execute("SELECT 1")


@shared_task(bind=True)
def note(self: Any, text: str) -> None:
    Entry.objects.create(text=text, task_id=self.request.id)


def end(task: Any, how: str) -> None:
    match how:
        case "well":
            return
        case "fail":
            raise ValueError("no")
        case "retry":
            if task.request.retries == 0:
                raise task.retry(countdown=0)
        case "reject":
            raise Reject("no")
        case "ignore":
            raise Ignore
        case "slow":
            while True:
                time.sleep(0.01)
        case "replace":
            raise task.replace(note.si("replacement"))


@shared_task(bind=True, atomic=True, max_retries=1)
def book(self: Any, text: str, how: str) -> str:
    Entry.objects.create(text=f"{text} {self.request.retries}", task_id=self.request.id)
    note.delay_on_commit(f"{text} {self.request.retries} on commit")
    note.delay_via_outbox(f"{text} {self.request.retries} via outbox")
    transaction.on_commit(lambda: Entry.objects.create(text=f"{text} {self.request.retries} hook"))
    end(self, how)
    return text


@shared_task(atomic="second")
def book_elsewhere(text: str, how: str) -> None:
    Entry.objects.using("second").create(text=text)
    assert connections["second"].in_atomic_block
    assert not connection.in_atomic_block
    end(None, how)


@shared_task
def describe(alias: str) -> dict[str, Any]:
    """What a task finds of its process's connections; a PostgreSQL connection is known by the server's process."""
    before = connections[alias].connection is not None
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()" if connections[alias].vendor == "postgresql" else "SELECT 1")
        backend = cursor.fetchone()[0]
    return {
        "pid": os.getpid(),
        "open before": before,
        "backend": backend,
        "queries": len(connections[alias].queries),
    }


@shared_task
async def note_async(text: str) -> bool:
    was_open = connection.connection is not None
    await Entry.objects.acreate(text=text)
    return was_open

"""Written for Celery, with the type hints of celery-types: mypy checks it, strictly, and it runs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from celery import Celery, Task, chain, chord, group, shared_task, signature
from celery.canvas import Signature
from celery.exceptions import MaxRetriesExceededError, Reject, Retry, SoftTimeLimitExceeded
from celery.result import AsyncResult, EagerResult
from celery.schedules import crontab
from celery.signals import task_failure, task_prerun
from celery.utils.log import get_task_logger
from kombu import Exchange, Queue

logger = get_task_logger(__name__)

app = Celery("typed", broker="memory://", backend="cache+memory://")
app.conf.update(
    task_always_eager=True,
    task_store_eager_result=True,
    task_queues=[Queue("celery", Exchange("celery"), routing_key="celery")],
    beat_schedule={"every-night": {"task": "typed_program.add", "schedule": crontab(minute=0, hour=3), "args": (1, 2)}},
)

seen: list[str] = []


@task_prerun.connect
def note(task_id: str, task: Task[Any, Any], **kwargs: Any) -> None:
    seen.append(task.name)


@app.task
def add(x: int, y: int) -> int:
    return x + y


@shared_task
def total(values: list[int]) -> int:
    return sum(values)


@app.task(bind=True, max_retries=2, autoretry_for=(KeyError,), retry_backoff=True, time_limit=30, soft_time_limit=20)
def again(self: Task[Any, Any], wanted: int) -> str:
    if self.request.retries < wanted:
        raise self.retry(countdown=0, exc=ValueError("not yet"))
    logger.info("done after %s", self.request.retries)
    return f"{self.name} {self.request.retries}"


def main() -> None:
    result: AsyncResult[int] = add.delay(1, 2)
    print(result.get(timeout=10), result.status, result.successful())
    later = add.apply_async((3,), {"y": 4}, countdown=0, expires=timedelta(minutes=1).total_seconds(), queue="celery")
    print(later.get())
    first: Signature[int] = add.s(1, 1)
    print(chain(first, add.s(2))().get(), chord([add.s(i, i) for i in range(3)], total.s())().get())
    members = group(add.s(i, 1) for i in range(3)).apply_async()
    print(members.get())
    print(signature("typed.add", args=(5, 5)).task, again.delay(1).get())
    direct: EagerResult[int] = add.apply(args=(2, 2))
    print(direct.get(), sorted(set(seen)))
    try:
        again.delay(5).get()
    except (ValueError, MaxRetriesExceededError, Retry, Reject, SoftTimeLimitExceeded) as error:
        print(repr(error))


if __name__ == "__main__":
    main()

"""A Django program written for Celery; results are kept by django-celery-results."""

import json
import os
import time

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "results_settings")

from celery import Celery, chord, group
from celery.result import AsyncResult, GroupResult

app = Celery("results_program")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.conf.beat_schedule = {"often": {"task": "results_program.add", "schedule": 1.0, "args": (4, 4)}}


@app.task
def add(x, y):
    return x + y


@app.task
def total(values):
    return sum(values)


@app.task
def fail():
    raise KeyError("größe")


@app.task(bind=True)
def report(self):
    self.update_state(state="PROGRESS", meta={"done": 1})
    return {"text": "a\0b", "nested": [1, None, {"ü": 2.5}]}


def main():
    import django

    django.setup()
    from django.contrib import admin
    from django_celery_results.models import ChordCounter, TaskResult

    from celery import states

    said = {}
    first = add.delay(2, 3)
    said["add"] = first.get(timeout=60)
    row = TaskResult.objects.get(task_id=first.id)
    said["row"] = {
        name: getattr(row, name)
        for name in ("status", "result", "content_type", "content_encoding", "task_name", "task_args", "task_kwargs")
    }
    said["worker"] = row.worker
    failed = fail.delay()
    try:
        failed.get(timeout=60)
    except KeyError as error:
        said["failed"] = repr(error)
    said["traceback"] = "raise KeyError" in TaskResult.objects.get(task_id=failed.id).traceback
    said["report"] = report.delay().get(timeout=60)
    said["chord"] = chord([add.s(i, i) for i in range(20)], total.s()).delay().get(timeout=60)
    while (sent := TaskResult.objects.filter(periodic_task_name="often", status="SUCCESS").first()) is None:
        time.sleep(0.05)
    said["often"] = (sent.task_args, sent.result)
    counted = group(add.s(i, 1) for i in range(3)).apply_async()
    counted.save()
    said["group"] = GroupResult.restore(counted.id).get(timeout=60)
    said["state"] = AsyncResult(first.id).state == states.SUCCESS
    said["admin"] = sorted(model.__name__ for model in admin.site._registry if "celery" in model._meta.app_label)
    first.forget()
    said["forgotten"] = not TaskResult.objects.filter(task_id=first.id).exists()
    said["counters"] = ChordCounter.objects.filter(group_id__contains="/").count()
    print(json.dumps(said))


if __name__ == "__main__":
    main()

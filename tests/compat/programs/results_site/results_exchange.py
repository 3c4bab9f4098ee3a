"""Stores results by the app's backend, or reads them: run on Celery and on Celeriac by turns."""

import json
import sys

import django

from results_program import add, app, fail

django.setup()

from celery.result import AsyncResult, GroupResult


def store(prefix):
    app.conf.task_always_eager = app.conf.task_store_eager_result = True
    add.apply_async((2, 3), task_id=f"{prefix}-value")
    fail.apply_async(task_id=f"{prefix}-failure")
    GroupResult(f"{prefix}-group", [AsyncResult(f"{prefix}-value")]).save()


def read(prefix):
    value, failure = AsyncResult(f"{prefix}-value"), AsyncResult(f"{prefix}-failure")
    group = GroupResult.restore(f"{prefix}-group")
    print(
        json.dumps(
            {
                "value": [value.state, value.get(timeout=10), value.date_done is not None, value.children],
                "failure": [
                    failure.state,
                    type(failure.result).__name__,
                    str(failure.result),
                    "raise KeyError" in failure.traceback,
                ],
                "group": [[result.id for result in group.results], group.get(timeout=10)],
                "nothing": AsyncResult(f"{prefix}-nothing").state,
            }
        )
    )


{"store": store, "read": read}[sys.argv[1]](sys.argv[2])

"""Celery's side of those tests: the app for its worker, and a producer that is told calls line by line."""

from __future__ import annotations

import ast
import json
import os
import sys
from typing import Any

from celery import Celery

from tests.interop.content_tasks import register, settings
from tests.interop.functions import QUEUE_VARIABLE

app = Celery("content", set_as_current=False)
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_default_queue=os.environ.get(QUEUE_VARIABLE, "celery"),
    **settings(),
)
if app.conf.security_key:
    app.setup_security()
register(app)


def send(task: str, value: str, options: dict[str, Any], tamper: bool = False) -> str:
    """Send a call, wait, and return the representation of its result, or of its error."""
    result = app.tasks[f"content.{task}"].apply_async((ast.literal_eval(value),), **options)
    try:
        return repr(result.get(timeout=30))
    except Exception as error:
        return f"{type(error).__module__}.{error!r}"


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        answers.write(json.dumps(send(**json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()

"""The program that Celery's workers and producers run under torture: a broker, a backend, and everything else at its default."""

from __future__ import annotations

import json
import os

from celery import Celery

from celeriac.torture.orders import QUEUE, SETTINGS_VARIABLE, Order
from celeriac.torture.systems import deeds

app = Celery("torture", broker=deeds.BROKER_URL, backend=deeds.BACKEND_URL)
app.conf.update(task_default_queue=QUEUE, **json.loads(os.environ.get(SETTINGS_VARIABLE, "{}")))
app.task(deeds.work, name="work")
app.task(deeds.poison, name="poison")


def send(key: str, order: Order) -> None:
    """Send one task; raises what `apply_async` raises."""
    options = {**order.options, **({} if order.countdown_s is None else {"countdown": order.countdown_s})}
    app.tasks[order.task].apply_async((key, order.seconds), order.arguments, **options)

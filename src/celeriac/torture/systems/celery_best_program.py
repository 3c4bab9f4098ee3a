"""The same program with the settings that Celery has against loss, on either broker."""

from __future__ import annotations

from celeriac.torture.systems import deeds
from celeriac.torture.systems.celery_program import app, send

__all__ = ["app", "send"]

VISIBILITY_TIMEOUT_S = 10

app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    result_backend_always_retry=True,
)
if deeds.ON_REDIS:
    app.conf.broker_transport_options = {
        "visibility_timeout": VISIBILITY_TIMEOUT_S,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "socket_timeout": 30,
    }
else:
    app.conf.update(task_default_queue_type="quorum", broker_heartbeat=10)
    app.conf.broker_transport_options = {"confirm_publish": True}

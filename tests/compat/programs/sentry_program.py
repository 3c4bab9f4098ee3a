"""Written for Celery, with sentry-sdk as its documentation says; what Sentry would be sent goes to a file."""

import json
import os

import sentry_sdk
from celery import Celery
from celery.beat import Scheduler
from celery.schedules import crontab
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.transport import Transport


class FileTransport(Transport):
    def capture_envelope(self, envelope):
        with open(os.environ["SENTRY_FILE"], "a") as file:
            for item in envelope.items:
                if item.payload.json is not None:
                    file.write(json.dumps({"type": item.type, "pid": os.getpid(), **item.payload.json}) + "\n")


app = Celery("sentry_program", broker=os.environ["BROKER_URL"], backend=os.environ["BROKER_URL"])

sentry_sdk.init(
    dsn="http://key@127.0.0.1:1/1",
    transport=FileTransport,
    traces_sample_rate=1.0,
    integrations=[CeleryIntegration(monitor_beat_tasks=True)],
    default_integrations=False,
)


@app.task
def fail(order):
    raise ValueError(f"no order {order}")


@app.task(bind=True, throws=(KeyError,))
def expected(self):
    raise KeyError("nothing to see")


@app.task
def works():
    return 1


@app.task
def nightly():
    return 2


app.conf.beat_schedule = {"every night": {"task": "sentry_program.nightly", "schedule": crontab(hour=2, minute=30)}}


if __name__ == "__main__":
    with sentry_sdk.start_transaction(name="request", op="http.server") as transaction:
        for result in (fail.delay(7), expected.delay(), works.apply_async()):
            try:
                result.get(timeout=60)
            except (ValueError, KeyError) as error:
                print(repr(error))
        print(transaction.trace_id)
    scheduler = Scheduler(app)
    scheduler.apply_entry(scheduler.schedule["every night"])

"""Written for Celery, with OpenTelemetry's instrumentation as its documentation says; spans go to a file."""

import json
import os

from celery import Celery
from celery.signals import worker_process_init
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

app = Celery("otel_program", broker=os.environ["BROKER_URL"], backend=os.environ["BROKER_URL"])


class FileExporter(SpanExporter):
    def export(self, spans):
        with open(os.environ["SPANS_FILE"], "a") as file:
            for span in spans:
                file.write(json.dumps(json.loads(span.to_json())) + "\n")
        return SpanExportResult.SUCCESS


def instrument():
    trace.set_tracer_provider(TracerProvider())
    trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(FileExporter()))
    CeleryInstrumentor().instrument()


@worker_process_init.connect(weak=False)
def in_each_executor(**_named):
    instrument()


@app.task
def add(x, y):
    return x + y


@app.task
def fail():
    raise ValueError("broken")


@app.task(bind=True, max_retries=1)
def again(self):
    if not self.request.retries:
        raise self.retry(countdown=0)
    return "done"


if __name__ == "__main__":
    instrument()
    with trace.get_tracer("web").start_as_current_span("request"):
        print(add.delay(1, 2).get(timeout=60))
        print(again.delay().get(timeout=60))
        try:
            fail.delay().get(timeout=60)
        except ValueError as error:
            print(repr(error))

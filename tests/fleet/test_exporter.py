"""A public exporter for Prometheus, celery-prometheus-exporter, beside workers of both kinds."""

from __future__ import annotations

import pytest

from celeriac.torture.servers.service import wait_until
from tests.fleet.exporter import Exporter, NotToBeHad, install
from tests.fleet.harness import THEIRS, Fleet
from tests.program import DEADLINE_S

QUEUES = ("exported-ours", "exported-theirs")


@pytest.fixture(scope="module")
def exporter(fleet: Fleet) -> Exporter:
    try:
        install()
    except NotToBeHad as error:
        pytest.skip(f"celery-prometheus-exporter can't be had: {error}")
    fleet.worker("ours@fleet", QUEUES[0], "-c", "1")
    fleet.worker("theirs@fleet", QUEUES[1], "-c", "1", kind=THEIRS)
    return Exporter(fleet, QUEUES[0])


def test_both_kinds_of_workers_are_counted(exporter: Exporter) -> None:
    wait_until(lambda: exporter.metrics()["celery_workers"] == 2, "two workers", deadline_s=DEADLINE_S, every_s=0.2)


def test_tasks_are_counted_by_state_and_name_and_timed(fleet: Fleet, exporter: Exporter) -> None:
    app = fleet.our_app("exported")

    def both_tell() -> bool:  # it takes the exporter some seconds to have them do so
        for queue, name in zip(QUEUES, ("shop.echo", "shop.tracked"), strict=True):
            app.tasks[name].apply_async((1,), queue=queue).get(timeout=DEADLINE_S)
        metrics = exporter.metrics()
        return all(metrics.get(_count(name, "SUCCESS"), 0) > 0 for name in ("shop.echo", "shop.tracked"))

    wait_until(both_tell, "events of both are counted", deadline_s=DEADLINE_S, every_s=0.2)
    app.tasks["shop.add"].apply_async((1, 2), queue=QUEUES[0]).get(timeout=DEADLINE_S)
    app.tasks["shop.fail"].apply_async(("own",), queue=QUEUES[0]).get(timeout=DEADLINE_S, propagate=False)
    wanted = {
        _count("shop.add", "SUCCESS"),
        _count("shop.fail", "FAILURE"),
        'celery_tasks{state="FAILURE"}',
        'celery_tasks_runtime_seconds_count{name="shop.add"}',
    }

    def is_counted() -> bool:
        metrics = exporter.metrics()
        return {series for series in wanted if metrics.get(series) == 1} == wanted

    wait_until(is_counted, f"each of {wanted} is 1", deadline_s=DEADLINE_S)


def _count(name: str, state: str) -> str:
    return f'celery_tasks_by_name{{name="{name}",state="{state}"}}'

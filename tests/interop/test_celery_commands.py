"""Celery's command line, used on queues where our side works or sends."""

from __future__ import annotations

from tests.interop.harness import Place


def test_call_and_result(place: Place) -> None:
    worker = place.our_worker("commands")
    key = place.key()
    task_id = place.celery_command(
        "commands", "call", "shop.note", "--args", "[1, 2]", "--kwargs", f'{{"key": "{key}"}}'
    )
    place.until_noted(key)
    if (
        place.backend_url != "rpc://"
    ):  # a result that is sent can be read by the process that asked for it, and no other
        assert place.our_app("commands").AsyncResult(task_id).get(timeout=30) == key
        assert place.celery_command("commands", "result", task_id) == key
    worker.stop()
    place.check_empty("commands")


def test_purge_takes_what_we_sent(place: Place) -> None:
    app = place.our_app("unwanted")
    for number in range(5):
        app.tasks["shop.echo"].delay(number)
    assert place.depth("unwanted").ready == 5
    assert "5 messages" in place.celery_command("unwanted", "purge", "--force", "--queues", "unwanted")
    assert place.depth("unwanted").ready == 0

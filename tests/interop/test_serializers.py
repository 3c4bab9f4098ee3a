"""Serializers, compression and Celery's signatures between real programs of both sides, in both directions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.torture.servers.service import wait_until
from tests.interop.content_celeriac import make
from tests.interop.content_tasks import SETTINGS_VARIABLE, Unlucky
from tests.interop.harness import CELERY_OPTIONS, Place
from tests.program import Program
from tests.wire.certificates import Identity

TIMEOUT_S = 30.0
VALUES = ("[1, 'ä', None, {'a': [2.5, True]}]", "{'s': {1, 2}}", "b'\\xff'")


class Pair:
    """A worker of each side, a Celery program and our app, all with the same settings."""

    def __init__(self, place: Place, name: str, settings: dict[str, Any]) -> None:
        self.place = place
        self.settings = settings
        self.ours, self.theirs = f"{name}-ours", f"{name}-theirs"
        self._producer = self._start("producer", ["tests.interop.content_celery"], self.ours, talks=True)
        self.app = self._app(self.theirs)
        self.send("echo", 0, wait=False)  # on RabbitMQ it makes the queue, as Celery expects it
        celery = ["celery", "-A", "tests.interop.content_celery", "worker", "-n", f"{name}@theirs", "-Q", self.theirs]
        ours = ["celeriac", "-A", "tests.interop.content_celeriac", "worker", "-n", f"{name}@ours", "-Q", self.ours]
        self._workers = [
            self._start(f"{name}-celery", [*celery, *CELERY_OPTIONS], self.theirs),
            self._start(f"{name}-ours", [*ours, "-c", "1"], self.ours),
        ]
        for worker in self._workers:
            worker.wait_for("ready.")

    def send(self, task: str, value: Any, wait: bool = True, **options: Any) -> Any:
        """We send, Celery runs."""
        result = self.app.tasks[f"content.{task}"].apply_async((value,), **options)
        return result.get(timeout=TIMEOUT_S) if wait else result

    def receive(self, task: str, value: str, **options: Any) -> str:
        """Celery sends, we run; the representation of what Celery's program gets."""
        requests, answers = self._producer.process.stdin, self._producer.process.stdout
        assert requests is not None
        assert answers is not None
        requests.write(json.dumps({"task": task, "value": value, "options": options}).encode() + b"\n")
        requests.flush()
        answer: str = json.loads(answers.readline() or '"the producer has ended"')
        return answer

    def close(self) -> None:
        self.app.close()
        for worker in self._workers:
            worker.stop()
        self._producer.kill()

    def _app(self, queue: str) -> Celeriac:
        urls = {"broker": self.place.broker_url, "backend": self.place.backend_url}
        return make(**urls, task_default_queue=queue, task_default_queue_type=self.place.queue_type, **self.settings)

    def _start(self, name: str, module: list[str], queue: str, *, talks: bool = False) -> Program:
        environment = self.place._environment(queue) | {
            SETTINGS_VARIABLE: json.dumps(self.settings),
            "C_FORCE_ROOT": "1",  # Celery's worker refuses to read pickle as root
        }
        program = Program(f"{name}-{self.place.name}", module, environment, self.place.directory, talks=talks)
        self.place._programs.append(program)
        return program


@pytest.fixture(scope="module")
def plain(place: Place) -> Iterator[Pair]:
    if place.name == "quorum":
        pytest.skip("the type of queue makes no difference here")
    pair = Pair(
        place,
        "plain",
        {"accept_content": ["json", "yaml", "pickle"], "result_serializer": "pickle", "result_compression": "bzip2"}
        if place.name == "redis"
        else {"accept_content": ["json", "yaml", "pickle"], "result_serializer": "pickle"},
    )
    yield pair
    pair.close()


@pytest.mark.parametrize("serializer", ["json", "yaml", "pickle"])
def test_serializers(plain: Pair, serializer: str) -> None:
    for text in VALUES:
        value = eval(text)
        if serializer == "json" and text == VALUES[1]:
            continue
        assert plain.send("echo", value, serializer=serializer) == value
        assert eval(plain.receive("echo", text, serializer=serializer)) == value


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "lzma", "brotli"])
def test_compression(plain: Pair, compression: str) -> None:
    text = "x" * 5000
    assert plain.send("echo", text, compression=compression) == text
    assert plain.receive("echo", repr(text), compression=compression) == repr(text)


def test_errors_in_pickled_results(plain: Pair) -> None:
    with pytest.raises(Unlucky) as caught:
        plain.send("fail", 7)
    assert caught.value.number == 7
    assert plain.receive("fail", "7") == "tests.interop.content_tasks.Unlucky(7, 'x')"


@pytest.fixture(scope="module")
def signed(place: Place) -> Iterator[Pair]:
    if place.name != "redis":
        pytest.skip("the broker makes no difference here")
    directory = place.directory / "certificates"
    directory.mkdir()
    key, certificate = Identity("both").write(directory)
    pair = Pair(
        place,
        "signed",
        {
            "task_serializer": "auth",
            "accept_content": ["auth"],
            "result_serializer": "auth",
            "security_key": key,
            "security_certificate": certificate,
            "security_cert_store": str(directory / "*.pem"),
        },
    )
    yield pair
    pair.close()


def test_signed_by_us_and_verified_by_celery(signed: Pair) -> None:
    assert signed.send("echo", [1, "ä"]) == [1, "ä"]
    assert signed.send("kind", {"a": 1}, compression="gzip") == "dict"


def test_signed_by_celery_and_verified_by_us(signed: Pair) -> None:
    assert signed.receive("echo", "[1, 'ä']") == "[1, 'ä']"
    assert signed.receive("kind", "{'a': 1}", compression="gzip") == "'dict'"


def test_celery_refuses_what_a_stranger_signs(signed: Pair, tmp_path: Path) -> None:
    key, certificate = Identity("stranger").write(tmp_path)
    stranger = signed._app(signed.theirs)
    stranger.conf.update(security_key=key, security_certificate=certificate)
    refused = stranger.tasks["content.echo"].apply_async((1,))
    worker = signed._workers[0]
    wait_until(lambda: "Unknown certificate" in worker.log, "Celery's worker refuses it", deadline_s=TIMEOUT_S)
    assert signed.send("echo", 2) == 2
    stranger.close()
    del refused


def test_we_park_what_a_stranger_signs(signed: Pair, tmp_path: Path) -> None:
    key, certificate = Identity("stranger").write(tmp_path)
    stranger = signed._app(signed.ours)
    stranger.conf.update(security_key=key, security_certificate=certificate)
    sent = stranger.tasks["content.echo"].apply_async((1,))
    wait_until(
        lambda: sent.id in [message.id for message in signed.place.parked(signed.ours)],
        "it is parked",
        deadline_s=TIMEOUT_S,
    )
    assert signed.receive("echo", "2") == "2"
    stranger.close()

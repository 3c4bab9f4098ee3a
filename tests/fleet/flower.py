"""Flower as its users have it: a process, looked at and operated over HTTP."""

from __future__ import annotations

import json
import urllib.error
from typing import Any
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

from celeriac.torture.servers.service import wait_until
from tests.fleet.prometheus import read_metrics
from tests.program import DEADLINE_S, Program


class Flower:
    """A running Flower."""

    def __init__(self, program: Program, url: str) -> None:
        self.program = program
        self.url = url

    def is_up(self) -> bool:
        """Whether it answers; AssertionError if it has ended."""
        self.program.check_alive()
        try:
            return self.page("/healthcheck") == "OK"
        except OSError:
            return False

    def page(self, path: str, **query: Any) -> str:
        """What a page shows. Raises `urllib.error.HTTPError` for one that is not there."""
        return self._call(Request(f"{self.url}{quote(path)}?{urlencode(query)}"))

    def get(self, path: str, **query: Any) -> Any:
        """The answer of the API to a GET."""
        return json.loads(self.page(f"/api{path}", **query))

    def press(self, path: str, **form: Any) -> str:
        """Do what a button does and return the message that it shows; a refusal is shown likewise."""
        request = Request(f"{self.url}/api{quote(path)}", data=urlencode(form).encode())
        try:
            return str(json.loads(self._call(request))["message"])
        except urllib.error.HTTPError as error:
            with error:
                return f"{error.code}: {error.read().decode()}"

    def post(self, path: str, body: Any) -> Any:
        """The answer of the API to a JSON document."""
        return json.loads(self._call(Request(f"{self.url}/api{quote(path)}", data=json.dumps(body).encode())))

    def workers(self) -> list[dict[str, Any]]:
        """The lines of the page of workers, which come from events."""
        return list(json.loads(self.page("/workers", json=1))["data"])

    def worker(self, node: str) -> dict[str, Any]:
        """One of these lines."""
        return next(worker for worker in self.workers() if worker["hostname"] == node)

    def metrics(self) -> dict[str, float]:
        """What Prometheus is told: series -> value."""
        return read_metrics(self.page("/metrics"))

    def until_task(self, task_id: str, state: str) -> dict[str, Any]:
        """Wait until a task is shown in this state, and return what is told of it."""
        shown: dict[str, Any] = {}

        def is_shown() -> bool:
            try:
                shown.update(self.get(f"/task/info/{task_id}"))
            except urllib.error.HTTPError as error:
                error.close()  # not known yet
            return shown.get("state") == state

        wait_until(is_shown, f"Flower shows {task_id} as {state}", deadline_s=DEADLINE_S)
        return shown

    def _call(self, request: Request) -> str:
        with urlopen(request, timeout=DEADLINE_S) as answer:
            return str(answer.read().decode())

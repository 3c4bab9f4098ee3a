"""Canaries: secrets that go through everything which a program and its operators do, and must be found nowhere in what is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac import Celeriac
from celeriac.client.redaction import Redaction
from celeriac.core.headers import SENSITIVE
from celeriac.core.printable import cut, harmless, one_line
from celeriac.exceptions import ImproperlyConfigured
from tests.cli.support import Project, clean_environment
from tests.services import PrivateRedis, free_port

PASSWORD = "canary-broker-password"
BACKEND_PASSWORD = "canary-backend-password"
COORDINATION_PASSWORD = "canary-coordination-password"
KEY = "canary-hmac-key-0123456789"
OWN = "canary-own-token"
CARD = "canary-4111-1111-1111-1111"
CANARIES = (PASSWORD, BACKEND_PASSWORD, COORDINATION_PASSWORD, KEY, OWN, CARD)

PROGRAM = """
import os

from celeriac import Celeriac

app = Celeriac("shop", **SETTINGS)
app.conf.update(SHOP_API_TOKEN=OWN)


@app.task(name="shop.pay", sensitive=("card",), validate=True, max_retries=0)
def pay(amount: int, card: str) -> int:
    if amount < 0:
        raise ValueError("a negative amount")
    return amount


@app.task(name="shop.refund", sensitive=("card",), validate=True)
def refund(card: int) -> None:
    pass


@app.task(name="shop.crash", sensitive=("card",))
def crash(card: str) -> None:
    os.abort()


@app.task(name="shop.again", sensitive=("card",), bind=True, max_retries=1)
def again(self, card: str, amount: int = 1) -> None:
    raise self.retry(args=(card, amount + 1), countdown=0)
"""


@pytest.fixture
def server(needs_redis: None) -> Iterator[PrivateRedis]:
    with PrivateRedis(password=PASSWORD) as made:
        yield made


def settings_for(server: PrivateRedis, **more: object) -> dict[str, object]:
    return {
        "broker_url": server.database_url(0),
        "result_backend": server.database_url(0),
        "coordination_url": server.database_url(1),
        "security_hmac_key": KEY,
        "result_extended": True,
        "task_crash_limit": 1,
        "worker_log_json": False,
        **more,
    }


def written_by(project: Project, server: PrivateRedis) -> dict[str, str]:
    """Everything that a day of this program writes, by who wrote it."""
    said: dict[str, str] = {}

    def run(*arguments: str) -> None:
        done = project.run(*arguments)
        said[" ".join(arguments)] = done.stdout + done.stderr

    app = Celeriac("sender", broker=server.database_url(0), backend=server.database_url(0), set_as_current=False)

    @app.task(name="shop.pay", sensitive=("card",))
    def pay(amount: int, card: str) -> int:
        return amount

    for name in ("shop.refund", "shop.crash", "shop.again"):

        def other(card: str) -> None: ...

        app.task(name=name, sensitive=("card",))(other)
    with app, project.worker("-c", "1", "-l", "DEBUG") as worker:
        results = [pay.delay(1, CARD), pay.delay(-1, card=CARD)]
        results += [app.tasks[f"shop.{name}"].delay(CARD) for name in ("refund", "crash", "again")]
        results.append(app.send_task("shop.unknown", (1,)))
        results.append((pay.s(-1, CARD) | pay.s(CARD)).delay())
        for number, result in enumerate(results):
            result.get(timeout=60, propagate=False)
            said[f"result {number}"] = json.dumps(result.info, default=repr) + repr(result.traceback)
        letters = project.json("-A", "shop", "dead", "list")
        assert len(letters) == 3, letters
        for letter in letters:
            run("-A", "shop", "dead", "show", letter["id"])
            run("-A", "shop", "dead", "show", letter["id"], "--json")
        said["dead list --json"] = json.dumps(letters)
        for command in (
            ("dead", "list"),
            ("report",),
            ("report", "--json"),
            ("queues",),
            ("call", "shop.pay", "1", CARD + "x"),
        ):
            run("-A", "shop", *command)
        said.pop(f"-A shop call shop.pay 1 {CARD}x")
        server.kill()
        run("-A", "shop", "queues")
        run("-A", "shop", "dead", "list", "--json")
        server.start()
    said["worker"] = worker.out + worker.err
    return said


@pytest.mark.timeout(600)  # an idle machine needs some seconds
def test_secrets_are_written_nowhere(server: PrivateRedis, tmp_path: Path) -> None:
    project = Project(tmp_path)
    settings = settings_for(server)
    (tmp_path / "shop.py").write_text(PROGRAM.replace("SETTINGS", repr(settings)).replace("OWN", repr(OWN)))
    said = written_by(project, server)
    leaks = {(canary, where): text for where, text in said.items() for canary in CANARIES if canary in text}
    assert not leaks, {key: text[max(0, text.find(key[0]) - 200) :][:500] for key, text in leaks.items()}
    assert "raised unexpected: ValueError('a negative amount')" in said["worker"]
    assert "ArgumentError" in said["worker"], "the error is told, without the value"


def test_passwords_of_urls_and_keys_are_written_nowhere_when_nothing_answers(tmp_path: Path) -> None:
    port = free_port()
    project = Project(tmp_path)
    settings = {
        "broker_url": f"redis://shop:{PASSWORD}@localhost:{port}/0",
        "result_backend": f"redis://:{BACKEND_PASSWORD}@localhost:{port}/1",
        "coordination_url": f"redis://:{COORDINATION_PASSWORD}@localhost:{port}/2",
        "security_hmac_key": [KEY, KEY + "2"],
    }
    (tmp_path / "shop.py").write_text(PROGRAM.replace("SETTINGS", repr(settings)).replace("OWN", repr(OWN)))
    for arguments in (
        ("worker", "--wait-for-broker", "0"),
        ("report", "--json"),
        ("call", "shop.pay", "1", "x"),
        ("queues",),
    ):
        done = project.run("-A", "shop", *arguments)
        said = done.stdout + done.stderr
        assert said
        assert not [canary for canary in CANARIES if canary in said], said
    assert PASSWORD not in repr(clean_environment())


def test_sensitive_arguments_are_hidden_however_they_are_passed() -> None:
    app = Celeriac("hides", broker="memory://", backend="disabled://", set_as_current=False)

    @app.task(name="pay", sensitive=("card", "rest", "pin"))
    def pay(amount: int, card: str, *rest: str, **more: str) -> None: ...

    headers = []
    for args, kwargs in (((1, CARD, CARD, CARD), {"pin": CARD}), ((1,), {"card": CARD, "name": "x"})):
        with app:
            result = pay.apply_async(args, kwargs)
        headers.append(result)
    redaction = pay.defaults.redaction
    assert redaction is not None
    assert redaction.texts((1, CARD, CARD), {"pin": CARD, "name": "x"}, 3) == (
        "(1, '***', '***')",
        "{'pin': '***', 'name': 'x'}",
    )
    assert redaction.scrubbed(f"not {CARD!r}, nor {[CARD]}", (1, [CARD]), {}) == "not '***', nor ['***']"


def test_what_is_shown_can_be_said_for_one_call() -> None:
    from celeriac.client.calls import build_message, defaults_of_name

    app = Celeriac("says", broker="memory://", backend="disabled://", set_as_current=False)
    options = {"argsrepr": "(<a card>,)", "kwargsrepr": "{}"}
    message = build_message(app, "pay", (CARD,), {}, options, defaults_of_name("pay", app))
    assert message.headers["argsrepr"] == "(<a card>,)"
    assert CARD not in str(message.headers)
    assert SENSITIVE not in message.headers


@pytest.mark.parametrize(
    ("sensitive", "reason"), [(("cart",), "'cart' is none of its parameters"), ("card", "takes a list")]
)
def test_sensitive_names_parameters(sensitive: object, reason: str) -> None:
    app = Celeriac("names", broker="memory://", set_as_current=False)
    with pytest.raises(ImproperlyConfigured, match=reason):
        app.task(name="pay", sensitive=sensitive)(lambda card: None)  # type: ignore[call-overload]


def test_texts_of_strangers_cannot_command_a_terminal_or_begin_a_line() -> None:
    evil = "a\n[2026-11-22: CRITICAL] forged\r\x1b[2J\u202ekrow\u2028\x00\x07\ud800"
    shown = one_line(evil)
    assert shown.isprintable()
    assert "forged" in shown
    assert harmless(evil).split("\n")[0] == "a"
    assert not {"\x1b", "\r", "\u202e", "\x00"} & set(harmless(evil))
    assert one_line("plain ümlaut") == "plain ümlaut"
    assert cut("t" * 1_000_000, 100) == "t" * 100 + "... (1000000 characters)"
    assert Redaction((), (), None).hidden((1,), {"a": 2}) == ((1,), {"a": 2})

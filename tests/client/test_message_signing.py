"""What an app signs, and what its workers make of it: place, age, and where the keys come from."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.client.signing import check_message, sign_messages
from celeriac.core.headers import SIGNATURE
from celeriac.core.message import Message
from celeriac.exceptions import ImproperlyConfigured, SecurityError
from celeriac.queues import Exchange, Queue
from celeriac.wire import message_signature

KEY, OTHER = "a key of sixteen bytes or more", "another key of sixteen bytes"
SIGNED: dict[str, Any] = {"security_sign_messages": True, "security_hmac_key": KEY}
HOUR = 3600.0


def made(**settings: Any) -> Celeriac:
    return Celeriac("shop", broker="memory://", **{**SIGNED, **settings})


def signed(app: Celeriac, *, at: float | None = None, **options: Any) -> Message:
    message = app.message("shop.pay", (1,), None, options)
    if at is None:
        sign_messages(app, [message])
    else:
        message_signature.sign(message, app.content.keys.hmac(), at, "0" * 32)
    return message


def test_how_old_a_message_may_be() -> None:
    app, now = made(security_replay_window_s=2 * HOUR), time.time()
    check_message(app, signed(app, at=now - 1.9 * HOUR))
    with pytest.raises(
        SecurityError, match=r"signed too long ago: it is 75.. s old .* security_replay_window_s is 7200"
    ):
        check_message(app, signed(app, at=now - 2.1 * HOUR))
    # The ETA counts, where there is one; whoever has begun is not judged by its age again.
    check_message(app, signed(app, at=now - 9 * HOUR, countdown=-1 * HOUR))
    check_message(app, signed(app, at=now - 9 * HOUR), is_over=True)
    check_message(app, signed(app, at=now + 100))
    with pytest.raises(SecurityError, match="in the future: set the clock of its sender"):
        check_message(app, signed(app, at=now + HOUR))
    check_message(made(security_replay_window_s=0), signed(app, at=now - 1000 * HOUR))


def test_a_message_that_an_exchange_deals_out_belongs_to_its_queues() -> None:
    events = Exchange("events", type="topic")
    app = made(task_queues=[Queue("celery"), Queue("mail", events, "mail.#"), Queue("logs", events, "#")])
    message = signed(app, exchange="events", routing_key="mail.new")
    assert not message.queue
    for queue in ("mail", "logs"):
        message.queue = queue
        check_message(app, message)
    for queue in ("celery", "elsewhere"):
        message.queue = queue
        with pytest.raises(SecurityError, match=rf"signed for exchange 'events' and found in queue '{queue}'"):
            check_message(app, message)


def test_who_signs_and_who_insists() -> None:
    insists, signs, neither = made(), made(security_require_signature=False), made(security_sign_messages=False)
    check_message(insists, signed(signs))
    for app in (signs, neither):
        check_message(app, signed(neither))
    assert SIGNATURE not in signed(neither).headers
    with pytest.raises(SecurityError, match=r"not signed: .* its sender needs security_sign_messages and a key"):
        check_message(insists, signed(neither))


@pytest.mark.parametrize("name", ["security_hmac_key", "security_encryption_key"])
def test_where_keys_come_from(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ids(**settings: Any) -> tuple[str, ...]:
        keys = Celeriac("keys", broker="memory://", **settings).content.keys
        return keys.hmac().ids if name == "security_hmac_key" else keys.sealing().ids

    first, second = ids(**{name: [KEY, OTHER.encode()]})
    assert ids(**{name: KEY}) == (first,)
    file = tmp_path / "keys"
    file.write_text(f"# first signs\n{OTHER}\n\n  {KEY} \n")
    assert ids(**{f"{name}_file": str(file)}) == (second, first)
    monkeypatch.setenv(f"CELERIAC_{name.upper()}", json.dumps([KEY, OTHER]))
    assert ids() == (first, second)
    with pytest.raises(ImproperlyConfigured, match=rf"{name} and {name}_file are both set"):
        ids(**{f"{name}_file": str(file)})
    monkeypatch.setenv(f"CELERIAC_{name.upper()}", KEY)
    assert ids() == (first,)
    monkeypatch.delenv(f"CELERIAC_{name.upper()}")
    file.write_text("")
    for settings, problem in (
        ({}, f"needs the setting {name}"),
        ({name: 17}, f"{name} takes text or bytes, or a list of those, not int"),
        ({f"{name}_file": str(file)}, f"{name} is empty"),
        ({f"{name}_file": str(tmp_path / "no")}, f"{name}_file: .*no can't be read"),
    ):
        with pytest.raises(ImproperlyConfigured, match=problem):
            ids(**settings)

"""What is set at run time: heeded, heeded when it is signed, or refused."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from msgspec.structs import replace

from celeriac import Celeriac
from celeriac.client.signing import sign_rate, sign_revocations
from celeriac.core.message import Revocation
from celeriac.worker.control_filter import ControlFilter

KEYS = {"security_sign_messages": True, "security_hmac_key": "a key of sixteen bytes or more"}
FAR = 4_000_000_000.0


def made(**settings: Any) -> Celeriac:
    return Celeriac("control", broker="memory://", **settings)


def test_without_signatures_all_is_heeded_and_with_the_switch_nothing(caplog: pytest.LogCaptureFixture) -> None:
    given, rates = [Revocation("a", FAR)], {"pay": sign_rate(made(**KEYS), "pay", "3/m"), "send": "5/s"}
    open_to_all = ControlFilter(made())
    assert list(open_to_all.revocations(given)) == given
    assert open_to_all.rates(rates) == {"pay": "3/m", "send": "5/s"}
    closed = ControlFilter(made(worker_enable_remote_control=False))
    with caplog.at_level(logging.WARNING, "celeriac"):
        assert (list(closed.revocations(given)), closed.rates(rates)) == ([], {})
    assert (open_to_all.ignored, closed.ignored) == (0, 3)
    assert len([record for record in caplog.records if "worker_enable_remote_control is off" in record.message]) == 1


def test_where_signatures_are_required_only_what_holds_is_heeded(caplog: pytest.LogCaptureFixture) -> None:
    ours, strangers = made(**KEYS), made(**{**KEYS, "security_hmac_key": "another key of sixteen bytes"})
    good = sign_revocations(ours, [Revocation("a", FAR, True, "SIGKILL")])[0]
    forged = [
        Revocation("a", FAR),
        sign_revocations(strangers, [Revocation("a", FAR)])[0],
        replace(good, id="b"),
        replace(good, expires_at=FAR + 1),
        replace(good, terminate=False),
        replace(good, signal="SIGTERM"),
        replace(good, signature=good.signature.upper()),
        replace(good, signature=" "),
        replace(good, signature="é" * 80),
    ]
    rate = sign_rate(ours, "pay", "3/m")
    forged_rates = {
        "a": rate,  # of another task
        "b": "3/m",
        "c": sign_rate(strangers, "c", "3/m"),
        "d": sign_rate(ours, "d", "3/m").replace("3/m", "9/m"),
        "e": "",
        "f": "x y z w",
    }
    control = ControlFilter(ours)
    with caplog.at_level(logging.WARNING, "celeriac"):
        assert list(control.revocations([good, *forged])) == [good]
        assert control.rates({"pay": rate, **forged_rates}) == {"pay": "3/m"}
    assert control.ignored == len(forged) + len(forged_rates)
    assert len([record for record in caplog.records if "is not signed by a key" in record.message]) == 1
    # On the way from one key to another.
    both = made(**{**KEYS, "security_hmac_key": ["another key of sixteen bytes", KEYS["security_hmac_key"]]})
    assert list(ControlFilter(both).revocations([good])) == [good]

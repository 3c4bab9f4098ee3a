"""A revocation holds until its time, and no longer; what it means is found in a message's headers."""

from __future__ import annotations

import pytest

from celeriac.core.message import Revocation
from celeriac.core.revoking import REVOKED, Sought, stamp_id, stamp_of
from celeriac.exceptions import ArgumentError
from celeriac.worker.revocations import Revocations


def test_a_revocation_ends_by_itself() -> None:
    revocations = Revocations(10)
    revocations.add([Revocation("a", expires_at=10.0)], now=0.0)
    assert [revocations.find({"id": "a"}, now) is not None for now in (9.0, 10.0)] == [True, False]
    assert revocations.find({"id": "b"}, 0.0) is None


def test_a_worker_keeps_the_youngest_in_mind(caplog: pytest.LogCaptureFixture) -> None:
    revocations = Revocations(3)
    revocations.add([Revocation(str(number), expires_at=10.0) for number in range(3)], now=0.0)
    revocations.add([Revocation("0", expires_at=11.0), Revocation("new", expires_at=10.0)], now=0.0)
    assert len(revocations) == 3
    kept = [name for name in ("0", "1", "2", "new") if revocations.find({"id": name}, 0.0)]
    assert kept == ["0", "2", "new"]
    assert "worker_revokes_max = 3" in caplog.text


def test_a_task_is_found_by_its_stamps() -> None:
    revocations = Revocations(10)
    revocations.add([Revocation(stamp_id("tenant", "acme"), expires_at=10.0, terminate=True)], now=0.0)

    def finds(stamped_headers: object, stamps: object) -> bool:
        headers = {"id": "x", "stamped_headers": stamped_headers, "stamps": stamps}
        return revocations.find(headers, 0.0) is not None

    assert finds(["tenant"], {"tenant": "acme"})
    assert finds(["other", "tenant"], {"other": {}, "tenant": ["zebra", "acme"]})
    assert not finds(["tenant"], {"tenant": "zebra"})
    assert not finds([], {"tenant": "acme"})
    assert not finds(["tenant"], {"tenant": None})
    assert not finds(None, {})
    assert not finds("tenant", {"tenant": "acme"})


def test_what_was_taken_out_of_its_delay_does_not_run() -> None:
    assert Revocations(10).find({"id": "x", REVOKED: True}, 0.0) is not None


def test_a_stamp_has_an_id_of_its_own() -> None:
    assert stamp_of(stamp_id("tenant", {"b": [1, None], "a": "é"})) == ("tenant", {"b": [1, None], "a": "é"})
    assert stamp_id("t", {"a": 1, "b": 2}) == stamp_id("t", {"b": 2, "a": 1})
    assert stamp_of("7f2c") is None
    with pytest.raises(ArgumentError, match="stamp 'tenant'"):
        stamp_id("tenant", object())


def test_what_revocations_mean() -> None:
    sought = Sought.by([Revocation("a", 1.0), Revocation(stamp_id("tenant", 7), 1.0), Revocation("a", 2.0)])
    assert (sought.task_ids, sought.stamp_names) == (("a",), ("tenant",))
    assert sought.covers({"id": "a"})
    assert sought.covers({"id": "z", "stamped_headers": ["tenant"], "stamps": {"tenant": [7]}})
    assert not sought.covers({"id": "z", "stamped_headers": ["tenant"], "stamps": {"tenant": "7"}})

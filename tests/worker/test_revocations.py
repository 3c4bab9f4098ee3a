"""A revocation holds until its time, and no longer."""

from __future__ import annotations

from celeriac.core.message import Revocation
from celeriac.worker.revocations import Revocations


def test_a_revocation_ends_by_itself() -> None:
    revocations = Revocations()
    revocations.add([Revocation("a", expires_at=10.0)], now=0.0)
    assert [revocations.refuses("a", now) for now in (9.0, 10.0)] == [True, False]
    assert not revocations.refuses("b", 0.0)

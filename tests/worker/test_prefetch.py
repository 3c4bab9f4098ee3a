"""How many messages a worker claims ahead of its free slots, by the settings."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from celeriac.core.settings import make_settings
from celeriac.worker.dispatch import Dispatch


class Busy:
    """An executor whose slots are all taken, by tasks so short that it would take any number ahead."""

    retiring = False
    ready = True
    free_slots = 0

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.waiting: list[Any] = []

    def allowance(self, now: float, window_s: float, limit: int) -> int:
        return limit


@pytest.mark.parametrize(
    ("settings", "slots", "claimed"),
    [
        ({}, 1, 256),
        ({"worker_prefetch_max": 7}, 1, 7),
        ({"worker_prefetch_multiplier": 0}, 1, 256),
        ({"worker_prefetch_multiplier": 1}, 1, 0),
        ({"worker_prefetch_multiplier": 4}, 1, 3),
        ({"worker_prefetch_multiplier": 4}, 5, 15),
        ({"worker_prefetch_multiplier": 100}, 5, 256),
        ({"worker_disable_prefetch": True}, 5, 0),
        ({"worker_disable_prefetch": True, "worker_prefetch_multiplier": 4}, 5, 0),
    ],
)
def test_what_is_claimed_ahead(settings: dict[str, Any], slots: int, claimed: int) -> None:
    pool: Any = SimpleNamespace(by_kind={"process": [Busy(slots)]}, kinds=["process"])
    unused: Any = None
    dispatch = Dispatch(
        pool,
        make_settings(settings),
        may_start=unused,
        holds=unused,
        give_back=unused,
        forget=unused,
        park=unused,
        begun=unused,
    )
    assert dispatch.capacity() == claimed

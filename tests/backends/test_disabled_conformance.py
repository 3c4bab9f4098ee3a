"""The disabled backend says of chords and saved groups what every backend says that cannot do them."""

from __future__ import annotations

from typing import Any

import pytest

from celeriac.backends.disabled import DisabledBackend
from celeriac.testing.backend_base import MakeBackend
from celeriac.testing.backend_chord_cases import ChordCases
from celeriac.testing.backend_group_cases import GroupCases


class TestDisabledBackend(ChordCases, GroupCases):
    keeps = False

    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        def make(**settings: Any) -> DisabledBackend:
            return DisabledBackend()

        return make

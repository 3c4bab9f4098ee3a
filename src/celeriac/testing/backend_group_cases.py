"""Cases of the backend suite: saved groups."""

from __future__ import annotations

import pytest

from celeriac.core.ports import Backend
from celeriac.exceptions import ImproperlyConfigured
from celeriac.testing.backend_base import BackendCases, make_record, new_id
from celeriac.testing.backend_chord_cases import CURE


class GroupCases(BackendCases):
    """Documents that say of which results a group consists."""

    def test_a_saved_group_is_found(self, saving: Backend) -> None:
        group, other = new_id(), new_id()
        with self.reading(saving) as reader, self.reading(saving) as elsewhere:
            reader.save_group(group, '{"result": "größe"}'.encode(), 3600.0)
            reader.save_group(other, b"endless", None)
            assert elsewhere.fetch_group(group) == '{"result": "größe"}'.encode()
            assert elsewhere.fetch_group(other) == b"endless"
            assert elsewhere.fetch_group(new_id()) is None

    def test_a_group_saved_again_is_the_last_one(self, saving: Backend) -> None:
        group = new_id()
        with self.reading(saving) as reader:
            for payload in (b"first", b"second", b"second"):
                reader.save_group(group, payload, 3600.0)
            assert reader.fetch_group(group) == b"second"

    def test_a_forgotten_group_is_gone(self, saving: Backend) -> None:
        group = new_id()
        with self.reading(saving) as reader:
            reader.save_group(group, b"saved", 3600.0)
            reader.forget_group(group)
            reader.forget_group(group)
            assert reader.fetch_group(group) is None
            reader.save_group(group, b"again", 3600.0)
            assert reader.fetch_group(group) == b"again"

    def test_saved_groups_expire(self, saving: Backend) -> None:
        short, long, renewed = new_id(), new_id(), new_id()
        with self.reading(saving) as reader:
            reader.save_group(short, b"short", 1.0)
            reader.save_group(long, b"long", 3600.0)
            reader.save_group(renewed, b"short", 1.0)
            reader.save_group(renewed, b"long", 3600.0)
            self.wait_until(lambda: reader.fetch_group(short) is None, "the group does not expire")
            assert [reader.fetch_group(group) for group in (long, renewed)] == [b"long", b"long"]

    def test_groups_and_results_have_nothing_to_do_with_each_other(self, saving: Backend) -> None:
        self.must_keep()
        record = make_record(new_id())
        self.store(saving, record)
        with self.reading(saving) as reader:
            reader.save_group(record.id, b"a group of the same id", 3600.0)
            assert reader.fetch([record.id]) == {record.id: record.payload}
            reader.forget([record.id])
            assert reader.fetch_group(record.id) == b"a group of the same id"
            self.store(saving, record)
            reader.forget_group(record.id)
            assert reader.fetch([record.id]) == {record.id: record.payload}

    def test_who_cannot_save_says_who_can(self, backend: Backend) -> None:
        if backend.counts_chords:
            pytest.skip("this backend saves groups")
        with self.reading(backend) as reader:
            with pytest.raises(ImproperlyConfigured, match=CURE):
                reader.save_group(new_id(), b"saved", 3600.0)
            with pytest.raises(ImproperlyConfigured, match=CURE):
                reader.fetch_group(new_id())
            with pytest.raises(ImproperlyConfigured, match=CURE):
                reader.forget_group(new_id())

    @pytest.fixture
    def saving(self, backend: Backend) -> Backend:
        """The backend under test, if it keeps groups: those that count do."""
        if not backend.counts_chords:
            pytest.skip("this backend keeps no groups")
        return backend

"""The last line of `make test` says what was left out, and never claims more than was run."""

from __future__ import annotations

from collections import Counter

import pytest

from tools.run_tests import summary


def test_summary_when_all_was_run() -> None:
    assert summary(Counter(), pytest.ExitCode.OK) == "nothing left out"
    assert summary(Counter(), pytest.ExitCode.TESTS_FAILED) == "nothing left out"


def test_summary_counts_skipped_tests_by_reason() -> None:
    counts = Counter({"redis-server not found, and only root could install it": 1, "no fork here": 2})
    assert summary(counts, pytest.ExitCode.OK) == (
        "left out: 2 tests (no fork here); 1 test (redis-server not found, and only root could install it)"
    )


def test_summary_of_a_run_that_broke_off() -> None:
    assert summary(Counter(), pytest.ExitCode.INTERRUPTED).startswith("left out: whatever follows")

"""Giving work to an executor, and taking back what it has not begun: on real sockets, the executor played by the test."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from celeriac.core.effects import ACK
from celeriac.core.message import Delivery, Message
from celeriac.core.policy import Policy
from celeriac.worker.entry import Entry, run_key
from celeriac.worker.executor.frames import (
    PACKET_MAX_BYTES,
    Done,
    FrameError,
    Job,
    Report,
    ReportReader,
    Started,
    encode_job,
    encode_report,
    receive_job,
)
from celeriac.worker.handle import Handle


def entry(name: str, body: bytes = b"[[], {}, {}]") -> Entry:
    message = Message("q", {"id": name, "task": "t"}, body)
    return Entry(Delivery(name, "q", message), message, run_key(message), "process", Policy(), 0, 0.0)


class Executor:
    """The other side of a handle."""

    def __init__(self, slots: int = 1) -> None:
        jobs, self.jobs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.handle = Handle(1, "process", slots, jobs, self.jobs.dup())
        self.handle.ready = True

    def take(self) -> str:
        job = receive_job(self.jobs, socket.MSG_DONTWAIT)
        assert job is not None
        return job.message.id


@pytest.fixture
def executor() -> Iterator[Executor]:
    made = Executor()
    yield made
    made.handle.close()
    made.jobs.close()


def names(entries: list[Entry]) -> list[str]:
    return [found.message.id for found in entries]


def test_the_first_job_runs_and_the_next_ones_wait(executor: Executor) -> None:
    for name in "abc":
        assert executor.handle.give(entry(name), 0.0)
    assert names(list(executor.handle.running.values())) == ["a"]
    assert [found.message.id for _, found in executor.handle.waiting] == ["b", "c"]
    assert executor.handle.free_slots == 0


def test_what_was_not_taken_comes_back_in_order_and_what_was_taken_stays(executor: Executor) -> None:
    for name in "abc":
        executor.handle.give(entry(name), 0.0)
    assert executor.take() == "a"
    assert names(executor.handle.recall()) == ["b", "c"]
    assert names(list(executor.handle.running.values())) == ["a"]
    with pytest.raises(BlockingIOError):
        executor.take()


def test_a_job_that_was_never_taken_is_not_running(executor: Executor) -> None:
    executor.handle.give(entry("a"), 0.0)
    assert names(executor.handle.recall()) == ["a"]
    assert executor.handle.running == {}


def test_a_job_taken_ahead_of_its_report_counts_as_running(executor: Executor) -> None:
    for name in "ab":
        executor.handle.give(entry(name), 0.0)
    executor.take()
    executor.take()  # the report of "a" is still on its way
    assert executor.handle.recall() == []
    assert sorted(names(list(executor.handle.running.values()))) == ["a", "b"]


def test_a_finished_job_lets_the_next_one_begin(executor: Executor) -> None:
    for name in "ab":
        executor.handle.give(entry(name), 0.0)
    finished = executor.handle.finish(1, 0.5, now=7.0)
    assert finished is not None
    assert finished.message.id == "a"
    (running,) = executor.handle.running.values()
    assert (running.message.id, running.started_at) == ("b", 7.0)
    assert executor.handle.mean_runtime_s == 0.5


def test_a_report_of_an_unknown_job_is_none(executor: Executor) -> None:
    assert executor.handle.finish(9, 0.1, now=0.0) is None


def test_ahead_goes_only_what_short_tasks_allow(executor: Executor) -> None:
    handle = executor.handle
    assert handle.allowance(0.0, 0.02, 64) == 0  # nothing is known of its tasks yet
    handle.give(entry("a"), 0.0)
    handle.finish(1, 0.001, now=0.0)
    assert handle.allowance(0.0, 0.02, 64) == 20
    assert handle.allowance(0.0, 0.02, 5) == 5
    handle.give(entry("b"), 0.0)
    assert handle.allowance(1.0, 0.02, 64) == 0  # "b" has outlasted the window


def test_a_large_job_goes_through_a_file_and_can_be_taken_back(executor: Executor) -> None:
    big = b"x" * (PACKET_MAX_BYTES * 20)
    executor.handle.give(entry("a", big), 0.0)
    executor.handle.give(entry("b", big), 0.0)
    job = receive_job(executor.jobs)
    assert job is not None
    assert job.message.body == big
    assert names(executor.handle.recall()) == ["b"]


def test_a_full_socket_is_told_and_nothing_is_lost(executor: Executor) -> None:
    given = 0
    while executor.handle.give(entry(str(given), b"y" * 10_000), 0.0):
        given += 1
    assert given > 0
    assert names(executor.handle.recall()) == [str(n) for n in range(given)]


def test_the_executor_sees_the_end_when_the_handle_closes(executor: Executor) -> None:
    executor.handle.close()
    assert receive_job(executor.jobs) is None


def test_reports_are_cut_from_the_stream_wherever_it_is_split() -> None:
    reports: list[Report] = [Started(5), Done(1, ACK, runtime_s=0.25), Done(2, ACK, runtime_s=0.5)]
    stream = b"".join(encode_report(report) for report in reports)
    for size in (1, 2, 3, 7, len(stream)):
        reader = ReportReader()
        found = [
            report for start in range(0, len(stream), size) for report in reader.feed(stream[start : start + size])
        ]
        assert found == reports


def test_a_frame_that_cannot_be_written_is_named_and_none_that_cannot_be_read_stays() -> None:
    unwritable = Message("q", {"id": "a", "task": "t", "n": 2**70}, b"")
    with pytest.raises(FrameError, match="64"):
        encode_job(Job(1, unwritable))
    reader = ReportReader()
    with pytest.raises(FrameError):
        reader.feed(b"\x00\x00\x00\x01\x00" + encode_report(Started(5)))

"""For tests: a worker in the test's process, a clock that the test moves, and checks that a task may run twice.

Next to them stand the conformance suites for brokers and backends, `broker_suite` and `backend_suite`.
"""

from celeriac.testing.clock import VirtualClock
from celeriac.testing.idempotence import SimulatedCrash, assert_idempotent, assert_survives_crash
from celeriac.testing.worker import TestWorker

__all__ = ["SimulatedCrash", "TestWorker", "VirtualClock", "assert_idempotent", "assert_survives_crash"]

"""The conformance suite for brokers: what every broker has to do, whoever wrote it.

To run it against a broker of yours, subclass `BrokerSuite` in a test module and give the fixture `make_broker`:

    import pytest
    from celeriac.core.settings import make_settings
    from celeriac.testing.broker_suite import BrokerSuite

    class TestMyBroker(BrokerSuite):
        urgent_first = None                                 # flags for what the broker cannot do: see `BrokerCases`

        @pytest.fixture
        def make_broker(self, tmp_path):
            return lambda **settings: MyBroker(f"mine://{tmp_path}", make_settings(settings))

For failures that show what was compared, put `pytest.register_assert_rewrite("celeriac.testing")` into `conftest.py`.

Within one test, `make_broker` is called with different settings or several times, and each time must open the same place,
which is empty when the test begins.  A broker that lives in its object (not `durable`) is asked for once only.

Three more fixtures are optional; tests that need one which is not given are skipped:

* `make_storing` returns, called with settings, the broker and a result backend in one place, so that settling stores results
  and joins chords;
* `put_raw` returns a function `(queue, bytes)` that puts into a queue what no producer would;
* `cut_connections` returns a function `()` that breaks every connection to the broker while the broker goes on.

The suite drives the real thing through its protocols (`celeriac.core.ports`), with `asyncio.run` around what is
asynchronous, so it needs no pytest plugin.  It waits for conditions, up to `deadline_s`; it never asserts that something
was quick.
"""

from __future__ import annotations

from celeriac.testing.broker_admin_cases import AdminCases
from celeriac.testing.broker_base import (
    BrokerCases,
    CutConnections,
    MakeBroker,
    MakeStoring,
    PutRaw,
    make_message,
    make_messages,
)
from celeriac.testing.broker_chord_cases import ChordCases
from celeriac.testing.broker_consume_cases import ConsumeCases
from celeriac.testing.broker_lease_cases import LeaseCases
from celeriac.testing.broker_messenger_cases import MessengerCases
from celeriac.testing.broker_queue_cases import QueueCases
from celeriac.testing.broker_routing_cases import RoutingCases
from celeriac.testing.broker_settle_cases import SettleCases

__all__ = [
    "BrokerCases",
    "BrokerSuite",
    "CutConnections",
    "MakeBroker",
    "MakeStoring",
    "PutRaw",
    "make_message",
    "make_messages",
]


class BrokerSuite(
    QueueCases, ConsumeCases, RoutingCases, SettleCases, ChordCases, LeaseCases, AdminCases, MessengerCases
):
    """Everything that is asked of a broker."""

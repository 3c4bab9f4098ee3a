"""How a tick is sent once, however many schedulers there are.

Where the broker keeps the board, too, the message is published and the tick noted in one step: a crash is before it or after it.

Elsewhere these are three steps: the tick is claimed on the board for `beat_lease_s`; the message is published, and the broker confirms
it; the tick is noted.  Whoever dies after the first step leaves the tick to whichever scheduler comes when the lease is over.  Between
the second and the third that one sends the message again, with the same task id, for the id is made of entry and time.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import TYPE_CHECKING, cast

from msgspec import Struct

from celeriac.beat.calls import call_of, id_of_tick
from celeriac.beat.entry import ScheduleEntry
from celeriac.beat.state import State, state_field, write_state
from celeriac.client import unique
from celeriac.client.announcing import announce_published, announce_publishing
from celeriac.client.publisher import Publisher
from celeriac.client.signing import sign_messages
from celeriac.core.boards import Board, Move
from celeriac.exceptions import BrokerUnavailable, PublishTimeout

if TYPE_CHECKING:
    from celeriac.beat.places import Place
    from celeriac.client.app import Celeriac
    from celeriac.client.batch_calls import Call
    from celeriac.core.ports import OnceProducer, Producer

logger = logging.getLogger("celeriac.beat")


class Seen(Struct, frozen=True):
    """An entry, as a scheduler has just seen it."""

    entry: ScheduleEntry
    text: str
    """What stands on the board, which is what a move starts from."""
    state: State
    now: float
    """Unix seconds."""


class TickSender:
    """Sends ticks for one scheduler, which has a name of its own. Not thread-safe; blocking up to `publish_timeout_s` or so."""

    def __init__(self, app: Celeriac, place: Place, board: Board, owner: str) -> None:
        self._app = app
        self._place = place
        self._board = board
        self._owner = owner
        self._producer: Producer = app.broker.producer()
        self._in_one_step = place.is_broker and hasattr(self._producer, "publish_once")
        self._published: dict[str, datetime] = {}
        """Entry -> its tick that we have published, and which we could not turn into a note yet."""

    def send(self, seen: Seen, tick: datetime, gap_s: float | None) -> State | None:
        """Send a tick and return the state after it; None when another scheduler was faster.

        `gap_s`: seconds to the next tick.  Raises `OperationalError` when broker or board is away: then try again.  What else it raises
        is wrong with the entry.
        """
        call = call_of(self._app, seen.entry, id_of_tick(self._place.name, seen.entry.name, tick), gap_s)
        after = seen.state.after(tick, seen.now)
        return self._in_one(seen, call, after) if self._in_one_step else self._under_lease(seen, call, after, tick)

    def skip(self, seen: Seen, until: datetime) -> bool:
        """Note that ticks are over and were not sent; False when somebody else has changed the state meanwhile."""
        return self._write(seen.entry.name, seen.text, write_state(seen.state.skipped(until)))

    def close(self) -> None:
        """Close the connection; idempotent."""
        self._producer.close()

    def _in_one(self, seen: Seen, call: Call, after: State) -> State | None:
        producer = cast("OnceProducer", self._producer)
        move = Move(state_field(seen.entry.name), seen.text, write_state(after))
        self._prepare(call)
        messages = [] if call.is_duplicate else [call.message]
        if not producer.publish_once(self._place.name, move, messages, self._app.settings.publish_timeout_s):
            return None
        self._tell(seen.entry, call)
        return after

    def _under_lease(self, seen: Seen, call: Call, after: State, tick: datetime) -> State | None:
        name, settings = seen.entry.name, self._app.settings
        text = seen.text
        # It may be ours to note alone: noting failed the last time, or a person paused the entry meanwhile.
        if self._published.get(name) != tick:
            text = write_state(seen.state.claimed(tick, self._owner, seen.now + settings.beat_lease_s))
            if not self._write(name, seen.text, text):
                return None
            self._prepare(call)
            if not call.is_duplicate:
                self._publish(name, call, text, seen.text, write_state(after))
            self._published[name] = tick
        if not self._write(name, text, write_state(after)):
            logger.info(
                "schedule entry %r was changed while tick %s was sent; it is noted at the next look", name, tick
            )
            return None
        del self._published[name]
        self._tell(seen.entry, call)
        return after

    def _publish(self, name: str, call: Call, claim: str, before: str, after: str) -> None:
        # Ours for the whole lease: who waits longer may find that somebody else has sent it.
        timeout_s = min(self._app.settings.publish_timeout_s, self._app.settings.beat_lease_s / 2)
        try:
            Publisher(self._producer, self._app.broker.shown_url()).publish([call.message], timeout_s)
        except PublishTimeout:
            raise  # it may have arrived: the claim stays, and we send it again under the same id
        except BrokerUnavailable:
            self._write(name, claim, before)
            raise
        except Exception:  # it can't be sent at all, now or later
            self._write(name, claim, after)
            raise

    def _prepare(self, call: Call) -> None:
        unique.take_all(self._app, [call])
        if not call.is_duplicate:
            announce_publishing(self._app, call.message)
            sign_messages(self._app, [call.message])

    def _tell(self, entry: ScheduleEntry, call: Call) -> None:
        if call.is_duplicate:
            assert call.answer is not None
            logger.info(
                "Scheduler: due task %s (%s) is unique, and [%s] holds its key", entry.name, entry.task, call.answer.id
            )
            return
        # Celery's words: people search logs for them.
        logger.info("Scheduler: Sending due task %s (%s) [%s]", entry.name, entry.task, call.message.id)
        announce_published(self._app, call.message)

    def _write(self, name: str, before: str, after: str) -> bool:
        move = Move(state_field(name), before, after)
        return self._board.write([move], self._app.settings.publish_timeout_s)[0]

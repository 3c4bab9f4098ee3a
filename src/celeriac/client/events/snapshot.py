"""Pictures of the cluster at regular times: what `celeriac events --camera` takes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from celeriac.client.dispatching import Signal
from celeriac.client.events.state import State
from celeriac.core.rates import interval_of

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

logger = logging.getLogger("celeriac.events")


class Polaroid:
    """Calls `on_shutter(state)` every `freq` seconds; a program's camera derives from it. Celery's interface.

    1. Owns one daemon thread, from `install` to `cancel`.
    2. No event is taken while a picture is; with `clear_after` the state begins anew after each.

    Args:
        state: the cluster, see `State`.
        freq: seconds between pictures.
        maxrate: no more than so many (`10/m`), whatever `freq` says.
        cleanup_freq: seconds between calls of `on_cleanup`.
        timer: accepted for Celery's sake.
    """

    shutter_signal: ClassVar[Signal] = Signal("shutter_signal")
    cleanup_signal: ClassVar[Signal] = Signal("cleanup_signal")
    clear_after: bool = False

    def __init__(
        self,
        state: State,
        freq: float = 1.0,
        maxrate: str | float | None = None,
        cleanup_freq: float = 3600.0,
        timer: object = None,
        app: Celeriac | None = None,
    ) -> None:
        self.state = state
        self.app = app
        self.freq = float(freq)
        self.cleanup_freq = float(cleanup_freq)
        self.logger = logger
        self._least_s = interval_of(maxrate) or 0.0
        self._taken_at = -self._least_s
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def on_shutter(self, state: State) -> None:
        """Take a picture: to be overridden."""

    def on_cleanup(self) -> None:
        """Delete what has been kept long enough: to be overridden."""

    def install(self) -> None:
        """Begin. Idempotent."""
        if self._thread is None:
            self._stopped.clear()
            self._thread = threading.Thread(target=self._run, name="celeriac-camera", daemon=True)
            self._thread.start()

    def cancel(self) -> None:
        """Take the last picture, and end. Idempotent, blocking until a picture that is being taken is finished."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopped.set()
            thread.join()
            self._safely(self.capture)

    def capture(self) -> None:
        """Take a picture, while no event is taken."""
        self.state.freeze_while(self.shutter, clear_after=self.clear_after)

    def shutter(self) -> None:
        """Take a picture, unless that would be too many."""
        now = time.monotonic()
        if now - self._taken_at < self._least_s:
            return
        self._taken_at = now
        self.shutter_signal.send(sender=self.state)
        self.on_shutter(self.state)

    def cleanup(self) -> None:
        """Have old pictures deleted."""
        self.cleanup_signal.send(sender=self.state)
        self.on_cleanup()

    def _run(self) -> None:
        next_cleanup = time.monotonic() + self.cleanup_freq
        while not self._stopped.wait(self.freq):
            self._safely(self.capture)
            if time.monotonic() >= next_cleanup:
                self._safely(self.cleanup)
                next_cleanup = time.monotonic() + self.cleanup_freq

    @staticmethod
    def _safely(do: Callable[[], Any]) -> None:
        try:
            do()
        except Exception:  # the program's code: the next picture may succeed
            logger.exception("the camera failed")

    def __enter__(self) -> Self:
        self.install()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _exc: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.cancel()


def evcam(
    camera: Callable[..., Polaroid],
    freq: float = 1.0,
    maxrate: str | float | None = None,
    app: Celeriac | None = None,
    wakeup: bool = True,
) -> None:
    """Take pictures with a camera, a `Polaroid` class, until interrupted. Blocking. Raises `BrokerUnavailable`."""
    assert app is not None, "which cluster is to be seen?"
    state = State()
    with camera(state, app=app, freq=freq, maxrate=maxrate):
        app.events.Receiver(handlers={"*": state.event}).capture(wakeup=wakeup)

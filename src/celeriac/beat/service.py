"""What runs a scheduler: in a program of its own, or in a thread beside something else."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Final

from celeriac.beat.choosing import make_scheduler
from celeriac.client import signals
from celeriac.exceptions import OperationalError

if TYPE_CHECKING:
    from celeriac.beat.scheduler import Scheduler
    from celeriac.client.app import Celeriac

logger = logging.getLogger("celeriac.beat")

FIRST_PAUSE_S: Final = 0.1
"""Before the second attempt when broker or store is away; doubled with each, up to `beat_retry_max_s`."""


class Service:
    """Runs a scheduler until it is told to stop; Celery's names.

    Duties: 1. look, and sleep until there is something to do; 2. outlast broker and store: say once that they are away, and
    come back; 3. close what is open.

    Args:
        app: its settings hold.
        max_interval: most seconds between two looks.
        schedule_filename: accepted for Celery's sake; the setting says it.
        scheduler_cls: stands for the setting `beat_scheduler`.

    Raises `ImproperlyConfigured` for an entry that can't be.
    """

    def __init__(
        self,
        app: Celeriac,
        max_interval: float | None = None,
        schedule_filename: str | None = None,
        scheduler_cls: Any = None,
    ) -> None:
        self.app = app
        self.scheduler: Scheduler = make_scheduler(app, scheduler_cls, max_interval=max_interval)
        self._stopping = threading.Event()
        self._ended = threading.Event()

    @property
    def schedule(self) -> dict[str, Any]:
        """All entries; asks the store."""
        return dict(self.scheduler.schedule)

    def start(self, embedded_process: bool = False) -> None:
        """Run until `stop`; blocking. What a scheduler of the program's own raises is logged, and it goes on."""
        (signals.beat_embedded_init if embedded_process else signals.beat_init).send(self)
        pause_s = 0.0
        for line in self.scheduler.cautions():
            logger.warning("%s", line)
        try:
            while not self._stopping.is_set():
                try:
                    wait_s = self.scheduler.tick()
                    if pause_s > 0:
                        logger.info("the scheduler goes on")
                    pause_s = 0.0
                except OperationalError as error:
                    pause_s = wait_s = self._longer(pause_s, "the scheduler waits: %s", error)
                except Exception:
                    pause_s = wait_s = self._longer(pause_s, "the scheduler met what it should not have", None)
                self._stopping.wait(wait_s)
        finally:
            self.scheduler.close()
            self._ended.set()

    def stop(self, wait: bool = False) -> None:
        """Ask it to stop, and with `wait` until it has; thread-safe, idempotent."""
        self._stopping.set()
        if wait:
            self._ended.wait()

    def sync(self) -> None:
        """Do nothing; see `Scheduler.sync`."""

    def _longer(self, pause_s: float, text: str, error: OperationalError | None) -> float:
        if not pause_s:  # once for each time that it is away
            if error is None:
                logger.exception(text)
            else:
                logger.warning(text, error)
            return FIRST_PAUSE_S
        return min(pause_s * 2, self.app.settings.beat_retry_max_s)


class EmbeddedService:
    """A scheduler in a daemon thread of this process, as `celeriac worker --beat` has it.

    Duties of the thread: those of `Service`.  Whatever a schedule of the program's own does there, it keeps nothing else waiting.
    """

    def __init__(self, app: Celeriac, max_interval: float | None = None, **options: Any) -> None:
        """Raises `ImproperlyConfigured` for an entry that can't be."""
        self.service = Service(app, max_interval, **options)
        self._thread = threading.Thread(
            target=self.service.start, kwargs={"embedded_process": True}, name="celeriac-beat", daemon=True
        )

    def start(self) -> None:
        """Start it."""
        self._thread.start()

    def stop(self, timeout_s: float | None = 5.0) -> None:
        """Ask it to stop and wait for `timeout_s` seconds at most; idempotent."""
        self.service.stop()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

"""`billiard.pool.Worker`: packages that must do something before an executor ends wrap its `workloop`."""

from __future__ import annotations

import sys
from typing import Any, Final

from celeriac.client import signals

MODULE: Final = "billiard.pool"


class Worker:
    """Stands for the class: one of it is run as each executor ends."""

    def workloop(self, *_args: Any, **_named: Any) -> int:
        """Do nothing: the work has been done."""
        return 0


def listen() -> None:
    """Run what `workloop` has become, when an executor ends. Idempotent."""
    signals.worker_process_shutdown.connect(_executor_ends, weak=False, dispatch_uid="celeriac.compat.workloop")


def _executor_ends(**_named: Any) -> None:
    if MODULE in sys.modules:
        sys.modules[MODULE].Worker().workloop()

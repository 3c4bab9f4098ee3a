"""Celeriac with executors of every kind."""

from __future__ import annotations

from celeriac.torture.systems.celeriac import CeleriacSystem


class KindsSystem(CeleriacSystem):
    """Celeriac whose program has tasks for threads and coroutines, too: its workers have executors for them."""

    program = "celeriac.torture.systems.celeriac_kinds_program"

"""Pictures of the cluster: Celery's names."""

from __future__ import annotations

from celeriac.client.events.snapshot import Polaroid, evcam

__all__ = ["Polaroid", "evcam"]

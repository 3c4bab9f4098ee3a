"""Remote control: commands that workers answer, those of a program's own among them, with Celery's names."""

from __future__ import annotations

from celeriac.worker.control.panel import Command, Panel, control_command, inspect_command
from celeriac.worker.control.state import ControlState

__all__ = ["Command", "ControlState", "Panel", "control_command", "inspect_command"]

"""The project, with its app at hand as Celery's guide has it."""

from __future__ import annotations

from .celeriac import app as celeriac_app

__all__ = ("celeriac_app",)

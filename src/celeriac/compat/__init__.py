"""`import celery`, answered by Celeriac: for programs and packages that cannot be edited.

    python -m celeriac.compat manage.py runserver      # a program
    celeriac --as-celery -A proj worker                # its workers

| module | what it knows |
|---|---|
| `celery_modules`, `kombu_modules` | which modules are answered, where their names come from, and what to use instead of the rest |
| `finder`, `answered`, `distributions` | how Python is told: modules, their names, the distributions' versions |
| `installing` | when that may begin, and that child processes do the same |
| `helpers` | small functions of Celery's and kombu's utility modules |
| `seams` | what packages patch in Celery, so that their patches are heeded |
"""

from __future__ import annotations

from celeriac.compat.installing import install, is_installed

__all__ = ["install", "is_installed"]

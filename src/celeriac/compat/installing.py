"""When answering begins: before anything of Celery's has been imported, and in child processes as well."""

from __future__ import annotations

import os
import sys

from celeriac.client.as_celery import as_celery
from celeriac.client.current import set_app_maker
from celeriac.client.loading import AS_CELERY_VARIABLE
from celeriac.client.wrapping import runs
from celeriac.compat import tables
from celeriac.compat.finder import CompatFinder
from celeriac.compat.helpers.apps import make_default_app
from celeriac.compat.seams import pool, trace
from celeriac.exceptions import ImproperlyConfigured


def install() -> None:
    """Answer `import celery`, `kombu` and `billiard` in this process, and in those that it starts. Idempotent.

    Raises `ImproperlyConfigured` when one of them has been imported already: parts of a program would work with one Celery, parts with
    another.
    """
    if is_installed():
        return
    imported = [name for name in sorted(tables.PACKAGES) if name in sys.modules]
    if imported:
        places = ", ".join(f"{name} ({getattr(sys.modules[name], '__file__', None) or 'no file'})" for name in imported)
        raise ImproperlyConfigured(
            f"already imported: {places}; celeriac.compat.install() has to come before that, as `celeriac --as-celery` and"
            " `python -m celeriac.compat program.py` do it"
        )
    sys.meta_path.insert(0, CompatFinder())
    set_app_maker(make_default_app)
    as_celery.is_on = True
    runs.add(trace.run_traced)
    pool.listen()
    os.environ[AS_CELERY_VARIABLE] = "1"


def is_installed() -> bool:
    """Tell whether `import celery` is answered in this process."""
    return any(isinstance(finder, CompatFinder) for finder in sys.meta_path)

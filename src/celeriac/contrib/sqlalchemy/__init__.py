"""SQLAlchemy: one transaction a task, calls that wait for a commit, and the transactional outbox.

use_sqlalchemy(app, sessionmaker(engine), outbox=outbox_table(Base.metadata))
"""

from __future__ import annotations

from celeriac.exceptions import ImproperlyConfigured

try:
    import sqlalchemy as _sqlalchemy
except ModuleNotFoundError as error:
    raise ImproperlyConfigured(
        "celeriac.contrib.sqlalchemy needs SQLAlchemy 2.0 or newer: pip install 'celeriac[sqlalchemy]'"
    ) from error

if int(_sqlalchemy.__version__.split(".")[0]) < 2:
    raise ImproperlyConfigured(
        f"celeriac.contrib.sqlalchemy needs SQLAlchemy 2.0 or newer, this is {_sqlalchemy.__version__}:"
        " pip install 'celeriac[sqlalchemy]'"
    )

from celeriac.contrib.sqlalchemy.calls import delay_on_commit, delay_via_outbox
from celeriac.contrib.sqlalchemy.integration import use_sqlalchemy
from celeriac.contrib.sqlalchemy.outbox import SqlAlchemyOutboxStore, outbox_table
from celeriac.contrib.sqlalchemy.sessions import current_session, use_session
from celeriac.contrib.sqlalchemy.task import SqlAlchemyTask
from celeriac.contrib.sqlalchemy.transactions import SqlAlchemyTransactions

__all__ = [
    "SqlAlchemyOutboxStore",
    "SqlAlchemyTask",
    "SqlAlchemyTransactions",
    "current_session",
    "delay_on_commit",
    "delay_via_outbox",
    "outbox_table",
    "use_session",
    "use_sqlalchemy",
]

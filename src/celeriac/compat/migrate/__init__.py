"""What a program written for Celery uses that is otherwise here: read from its sources, and from its app where that can be imported.

| module | what it finds |
|---|---|
| `files` | which files are looked at |
| `imports` | modules and names of Celery, kombu and billiard that are not there |
| `uses` | attributes of apps and tasks, options of tasks and calls |
| `settings` | settings in sources that have no effect, are unknown, or name pools that are not there |
| `commands` | command lines of Celery in scripts and configuration |
| `program` | the app's settings, as they are when it has been imported |
| `tree` | all but the last, for a directory |

What is said of each comes from where the rest of the package has it: the tables of `celeriac.compat`, `client.left_out`,
`core.setting_without_effect`, `core.celery_defaults`.
"""

from __future__ import annotations

from celeriac.compat.migrate.finding import Finding, Level
from celeriac.compat.migrate.program import of_program
from celeriac.compat.migrate.tree import of_tree

__all__ = ["Finding", "Level", "of_program", "of_tree"]

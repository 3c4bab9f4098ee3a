"""Run by test_import.py in a process that answers `import celery`: looks up every name that the tables have."""

import importlib

from celeriac.compat import tables

for name in sorted(tables.MODULES):
    module = importlib.import_module(name)
    for each in dir(module):
        getattr(module, each)
    for each in module.__all__:
        getattr(module, each)
print(len(tables.MODULES), "modules")

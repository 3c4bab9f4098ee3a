"""The finder that answers `import celery`: it stands first on `sys.meta_path`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, DistributionFinder
from types import ModuleType

from celeriac.compat import tables
from celeriac.compat.answered import AnsweredModule, explain
from celeriac.compat.distributions import distributions


class CompatFinder(MetaPathFinder, Loader):
    """Finds what the tables have, refuses what belongs to the same packages, and leaves all else alone.

    Every module is a package: `from celery.worker import Consumer` then asks for a module of that name, and the error can say
    what to use instead, which Python's own would not.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module that is answered; raises `ModuleNotFoundError` that says what to use instead of another."""
        if not tables.is_ours(fullname):
            return None
        if fullname not in tables.MODULES:
            # Without its `name`, for Python takes an error with one for its own business and hides what it says.
            raise ModuleNotFoundError(explain(fullname))
        return ModuleSpec(fullname, self, origin="celeriac.compat", is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return an empty module, whose names are looked up as they are asked for."""
        return AnsweredModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""

    def find_distributions(self, context: DistributionFinder.Context | None = None) -> Iterable[Distribution]:
        """Return what tells the versions of those packages that are not installed."""
        return distributions(context.name if context is not None else None)

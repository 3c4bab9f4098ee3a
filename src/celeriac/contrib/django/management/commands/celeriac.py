"""`manage.py celeriac`: the command line of Celeriac, with Django's settings in place."""

from __future__ import annotations

import os
from typing import Any

from django.core.management.base import BaseCommand

from celeriac.cli import main
from celeriac.cli.target import APP_VARIABLE


class Command(BaseCommand):
    """Passes everything on: `manage.py celeriac worker -c 4` is `celeriac -A <project> worker -c 4`."""

    help = "Run Celeriac's command line on this project: worker, outbox, queues, dead..."
    requires_system_checks = ()

    def run_from_argv(self, argv: list[str]) -> None:
        """Take the arguments as they are: they are not Django's to read.  The app is looked for in the settings' package."""
        package = os.environ.get("DJANGO_SETTINGS_MODULE", "").partition(".")[0]
        if package:
            os.environ.setdefault(APP_VARIABLE, package)
        main(argv[2:], prog_name=f"{os.path.basename(argv[0])} {argv[1]}")

    def handle(self, *args: Any, **options: Any) -> None:
        """For `call_command("celeriac", "outbox", "relay")`."""
        main([str(arg) for arg in args])

    def add_arguments(self, parser: Any) -> None:
        """Take any."""
        parser.add_argument("args", nargs="*")

"""The command line: one file per command, and the few things that they share.

root      the command `celeriac` itself: its options, and how errors are told
target    which app or broker a command is about
params    types of options and arguments
output    tables, plain lines or JSON, by who reads them
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(args: Sequence[str] | None = None, prog_name: str = "celeriac") -> None:
    """Run the command line with the given arguments, by default the program's, and exit with its code."""
    words = list(sys.argv[1:] if args is None else args)
    if words[:1] == ["health"]:  # a probe of a container is a new program every few seconds: it imports nothing else
        from celeriac.cli.health import health

        health(words[1:], prog_name=f"{prog_name} health")
    from celeriac.cli.root import celeriac

    celeriac(args if args is None else list(args), prog_name=prog_name)

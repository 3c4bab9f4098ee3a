"""The command line: one file per command, and the few things that they share.

root      the command `celeriac` itself: its options, and how errors are told
target    which app or broker a command is about
params    types of options and arguments
output    tables, plain lines or JSON, by who reads them
"""

from __future__ import annotations


def main() -> None:
    """Run the command line with the program's arguments and exit with its code."""
    from celeriac.cli.root import celeriac

    celeriac(prog_name="celeriac")

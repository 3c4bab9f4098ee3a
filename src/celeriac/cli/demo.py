"""`celeriac demo`: see it work."""

from __future__ import annotations

import click

from celeriac.cli.params import COUNT

EXAMPLES = """\b
Examples:
  celeriac demo
  celeriac demo --files 200 --pages 50
"""


@click.command(epilog=EXAMPLES)
@click.option("--files", type=COUNT, help="At most so many files.  [default: all, on a machine that is quick enough]")
@click.option("--pages", type=COUNT, default=200, show_default=True, help="How many web pages to fetch.")
@click.option("--seed", type=int, default=1, show_default=True, help="Decides which requests the web server fails.")
@click.pass_context
def demo(ctx: click.Context, files: int | None, pages: int, seed: int) -> None:
    """Measure every file of Python's standard library, with failures, retries and a killed process.

    Needs no server: the embedded broker in a temporary directory, and a real worker. It ends in under a minute and leaves
    nothing behind.
    """
    from celeriac.demo.run import Plan, run_demo

    ctx.exit(run_demo(Plan(max_files=files, pages=pages, seed=seed)))

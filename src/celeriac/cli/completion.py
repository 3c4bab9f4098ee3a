"""`celeriac completion`: have the shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from celeriac.cli.errors import CommandError

HELP = """\b
Install:
  bash  celeriac completion bash > ~/.local/share/bash-completion/completions/celeriac
  zsh   celeriac completion zsh > ~/.zfunc/_celeriac    (with fpath+=~/.zfunc before compinit)
  fish  celeriac completion fish > ~/.config/fish/completions/celeriac.fish
  now   eval "$(celeriac completion bash)"
"""


@click.command(epilog=HELP)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes `celeriac` in a shell."""
    complete = get_completion_class(shell)
    if complete is None:
        raise CommandError(f"click knows no completion for {shell}")
    click.echo(complete(ctx.find_root().command, {}, "celeriac", "_CELERIAC_COMPLETE").source())

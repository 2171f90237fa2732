"""`ark completion`."""

from enum import StrEnum
from typing import Annotated

import typer
from typer._completion_shared import get_completion_script  # typer is capped below 0.29, and exports no name for it

from arkcli.cli.options import Json, Quiet, output_of

app = typer.Typer(add_completion=False)


class Shell(StrEnum):
    """The shells there is a script for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


def script(shell: Shell) -> str:
    """The completion script of a shell."""
    return get_completion_script(prog_name="ark", complete_var="_ARK_COMPLETE", shell=shell.value).strip()


@app.command()
def completion(
    context: typer.Context,
    shell: Annotated[Shell, typer.Argument(help="Whose script to print.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Print the completion script of a shell.

    Example: ark completion bash > ~/.local/share/bash-completion/completions/ark
    """
    text = script(shell)
    output_of(context, as_json=as_json, quiet=quiet).result({"shell": shell.value, "script": text}, text, always=True)

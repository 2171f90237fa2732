"""`ark demo`."""

import typer

from arkcli.cli.command import App
from arkcli.cli.options import environment_of, output_of
from arkcli.errors import ExitCode

app = App()


@app.command()
def demo(context: typer.Context) -> None:
    """Tell the whole story in a few seconds, on this machine alone, and leave nothing behind.

    Example: ark demo
    """
    import msgspec

    from arkcli.actions import demo as story

    environment = environment_of(context)
    output = output_of(context)
    told = story.tell(environment, output.line)
    if output.as_json:
        output.result(msgspec.to_builtins(told))
    well = told.delivered and told.signatures_valid and told.same_bytes
    raise typer.Exit(ExitCode.DONE if well else ExitCode.FAILED)

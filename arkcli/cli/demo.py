"""`ark demo`."""

import typer

from arkcli.cli.command import App
from arkcli.cli.options import session_of
from arkcli.cli.printout import Printout
from arkcli.errors import ExitCode

app = App()


@app.command()
def demo(context: typer.Context) -> Printout:
    """Run a complete example on this machine in a few seconds. It leaves nothing behind.

    Example: ark demo
    """
    import msgspec

    from arkcli.actions import demo as story

    session = session_of(context)
    output = session.output()

    def say(step: str) -> None:
        output.line(output.screen.folded(step, " " * 3 if step[0] in " 12345" else ""))

    told = story.tell(session.home, say)
    well = told.delivered and told.signatures_valid and told.same_bytes
    return Printout(msgspec.to_builtins(told), status=ExitCode.DONE if well else ExitCode.FAILED)

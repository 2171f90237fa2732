"""`ark doctor`."""

import typer

from arkcli.actions import doctor as actions
from arkcli.actions.checks import Check, Status
from arkcli.cli.command import App
from arkcli.cli.lists import FEW
from arkcli.cli.options import session_of
from arkcli.cli.printout import Printout
from arkcli.errors import ExitCode
from arkcli.output import Output
from arkcli.text import clean

app = App()


@app.command()
def doctor(context: typer.Context) -> Printout:
    """Check the destinations file, the queue, the disk, the clock and the connection to each destination. Sends and
    changes nothing.

    Exit status: 0 no problem, or warnings only; 1 something must be fixed.

    Example: ark doctor
    """
    session = session_of(context)
    output, found = session.output(), actions.examine(session.home)
    well = all(check.status is not Status.FAIL for check in found)
    shown = [check for check in found if not output.quiet or check.status is not Status.PASS]
    return Printout(
        {"checks": [check._asdict() for check in found], "ok": well},
        [line for check in _few(shown, output) for line in _lines(output, check)],
        status=ExitCode.DONE if well else ExitCode.FAILED,
        always=True,
    )


def _few(shown: list[Check], output: Output) -> list[Check]:
    """On a terminal, many destinations that pass are one line."""
    well = [check for check in shown if check.status is Status.PASS and check.name.startswith("destination ")]
    if not output.on_a_terminal or len(well) <= FEW:
        return shown
    left = [check for check in shown if check not in well]
    return [*left, Check("destinations", Status.PASS, f"{len(well):,} reached")]


def _lines(output: Output, check: Check) -> list[str]:
    screen = output.screen
    said = screen.folded(f"{check.status}  {clean(check.name)}: {clean(check.message)}", " " * 6)
    lines = [screen.word(check.status) + said.removeprefix(check.status)]
    return lines if check.hint is None else [*lines, screen.folded(f"      → {clean(check.hint)}", " " * 8)]

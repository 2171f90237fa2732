"""What a command prints at its end, and its exit status: the only place where either is decided on."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from arkcli.errors import ExitCode
from arkcli.output import Output, Table


class Printout(NamedTuple):
    """A document for `--json`, and the same for people.

    `notes` and `warnings` go to standard error, in this order behind the rest. `broken` says of destinations that had
    to be left out why: they are named, and then the exit status is 1 at least. Text is shown even when quiet where
    `always` is set or the exit status is not 0.
    """

    document: Mapping[str, Any]
    text: Sequence[str | Table] = ()
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    broken: Mapping[str, str] = {}
    status: ExitCode = ExitCode.DONE
    always: bool = False


def show(output: Output, printout: Printout) -> ExitCode:
    """Prints it, and returns the exit status."""
    failed = printout.status is not ExitCode.DONE
    document = {**printout.document, **broken_json(printout.broken)}
    output.result(document, *printout.text, always=printout.always or failed)
    for note in printout.notes:
        output.note(note)
    for warning in printout.warnings:
        output.warn(warning)
    status = left_out(output, printout.broken)
    return printout.status if failed else status


def broken_json(broken: Mapping[str, str]) -> dict[str, Any]:
    """What a document has besides where parts of the queue cannot be used; given by destination, with the reason."""
    found = [{"name": name, "reason": reason} for name, reason in broken.items()]
    return {"broken": found} if found else {}


def left_out(output: Output, broken: Mapping[str, str]) -> ExitCode:
    """Names the destinations that a command had to leave out, and returns the exit status that says so."""
    for name, reason in broken.items():
        output.warn(f"{name} is left out: {reason}")
    return ExitCode.FAILED if broken else ExitCode.DONE

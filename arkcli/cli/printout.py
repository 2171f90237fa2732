"""A command's final output and exit status; both are decided here only."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from arkcli import text
from arkcli.errors import ExitCode
from arkcli.output import Output
from arkcli.output.tables import Table


class Printout(NamedTuple):
    """A document for `--json`, and the same as text.

    `notes`, then `warnings`, are printed to standard error after the rest. `broken` has, by name, the reason why a
    destination was left out; there is a warning for each reason, and an exit status of 0 becomes 1. When quiet, text is
    still printed if `always` is set or the exit status is not 0.
    """

    document: Mapping[str, Any]
    text: Sequence[str | Table] = ()
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    broken: Mapping[str, str] = {}
    status: ExitCode = ExitCode.DONE
    always: bool = False


def show(output: Output, printout: Printout) -> ExitCode:
    """Prints a printout and returns the exit status."""
    failed = printout.status is not ExitCode.DONE
    document = {**printout.document, **broken_key(printout.broken)}
    output.result(document, *printout.text, always=printout.always or failed)
    for note in printout.notes:
        output.note(note)
    for warning in printout.warnings:
        output.warn(warning)
    status = left_out(output, printout.broken)
    return printout.status if failed else status


def broken_key(broken: Mapping[str, str]) -> dict[str, Any]:
    """The key `broken` of a document, from reasons by destination; no key if nothing is broken."""
    found = [{"name": name, "reason": reason} for name, reason in broken.items()]
    return {"broken": found} if found else {}


def left_out(output: Output, broken: Mapping[str, str]) -> ExitCode:
    """Warns about the destinations that a command left out; returns exit status 1 if there is one, else 0."""
    for said in text.left_out(broken):
        output.warn(said)
    return ExitCode.FAILED if broken else ExitCode.DONE

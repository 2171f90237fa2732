"""Writes ark.1 beside itself, from what the commands say of themselves: `python docs/man/generate.py`."""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from arkcli import __version__
from arkcli.cli.app import app
from arkcli.cli.command import Group
from arkcli.cli.help import Page, page_of
from arkcli.errors import ExitCode

#: The day of the page: of the release that it describes.
DATE = "2026-11-26"
EXITS = {
    ExitCode.DONE: "Done.",
    ExitCode.FAILED: "Failed: a delivery is dead, a signature does not match, a ping failed, nothing was accepted.",
    ExitCode.USAGE: "Wrong usage or bad input.",
    ExitCode.UNWRITTEN: "Done, but standard output could not be written; standard error says what was done.",
    ExitCode.RETRYING: "Accepted, and at least one delivery will be retried.",
    ExitCode.UNREADABLE: "The destinations file or the queue cannot be read.",
    ExitCode.INTERRUPTED: "Interrupted.",
}
FILES = {
    "~/.config/ark/destinations.toml": "The destinations and the signing secret.",
    "~/.config/ark/queue.key": "The key of the destinations in a database.",
    "~/.local/state/ark/queue/": "The queue.",
}
VARIABLES = {
    "ARK_CONFIG_DIR": "The directory of destinations.toml.",
    "ARK_STATE_DIR": "The directory that holds the queue.",
    "ARK_QUEUE": "The PostgreSQL database that holds the queue and the destinations of several hosts.",
    "ARK_QUEUE_KEY": "Where the key of the destinations in that database is: env:NAME or file:PATH.",
    "ARK_SECRET": "The signing secret for sign and verify.",
    "SSL_CERT_FILE": "The CA certificates to trust.",
    "NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE": "Whether to use colours, where --color does not say.",
    "COLUMNS": "How wide the terminal is.",
}


def pages(command: Any, name: str = "ark", parent: Any = None) -> Iterator[Page]:
    """A command's page, and those of all commands below it."""
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    yield page_of(context)
    if isinstance(command, Group):
        for inner in command.list_commands(context):
            yield from pages(command.get_command(context, inner), inner, context)


def escaped(text: str) -> str:
    """Text as roff takes it: nothing in it is a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("…", "...")
    return re.sub(r"^\.", r"\\&.", text, flags=re.MULTILINE)


def filled(text: str) -> str:
    """Text that roff fills, in lines of which none is too long for an old terminal."""
    # Some escapes double in length.
    return escaped(textwrap.fill(text, 70, break_on_hyphens=False, break_long_words=False))


def bold(text: str) -> str:
    """The same, in bold."""
    return f"\\fB{escaped(text)}\\fR"


def terms(rows: Any) -> Iterator[str]:
    """A list of names and what they mean."""
    for name, meaning in rows:
        yield from (".TP", bold(str(name)), filled(meaning))


def command(page: Page) -> Iterator[str]:
    """One command's part of the manual."""
    yield f".SS {bold(page.usage.removesuffix(' COMMAND [ARGS]...'))}"
    yield "\n.PP\n".join(map(filled, page.paragraphs))
    for section, rows in page.sections:
        # What every command takes is said once, at the end; a command below this one has a part of its own.
        said = [row for row in rows if section == "Commands" or row.names in ("--json", "-q, --quiet", "-h, --help")]
        yield from terms(row for row in rows if row not in said)
    for example in page.examples:
        yield from (".PP", ".EX", escaped(example), ".EE")


def manual() -> str:
    """The whole manual page."""
    root, *others = pages(typer.main.get_command(app))
    leaves = [page for page in others if not any(name == "Commands" for name, _ in page.sections) or page.examples]
    everywhere = [row for name, rows in leaves[0].sections if name == "Output" for row in rows]
    before = [row for name, rows in root.sections if name == "Output" for row in rows if row not in everywhere]
    sections = {
        "NAME": [escaped("ark - " + root.paragraphs[0].rstrip(".").lower())],
        "SYNOPSIS": [f"{bold('ark')} [\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]"],
        "DESCRIPTION": ["\n.PP\n".join(map(filled, root.paragraphs))],
        "COMMANDS": [line for page in leaves for line in command(page)],
        "OPTIONS": [
            "Every command takes these:",
            *terms(everywhere),
            ".PP",
            "These come before the command:",
            *terms(before),
        ],
        "EXIT STATUS": list(terms((code.value, meaning) for code, meaning in EXITS.items())),
        "ENVIRONMENT": list(terms(VARIABLES.items())),
        "FILES": list(terms(FILES.items())),
    }
    lines = [f'.TH ARK 1 {DATE} "ark {__version__}" "User Commands"', ".nh"]
    for name, content in sections.items():
        lines += [f".SH {name}", *content]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("ark.1").write_text(manual(), "utf-8")

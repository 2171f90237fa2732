"""`ark secret`: the shared signing secret."""

from pathlib import Path
from typing import Annotated, Final

import typer

from arkcli.actions import destinations
from arkcli.actions.overlap import change_shared
from arkcli.actions.printed import pings_json
from arkcli.cli.command import App
from arkcli.cli.options import SecretFile, Yes, ask, session_of
from arkcli.cli.ping import pings_table
from arkcli.cli.printout import Printout
from arkcli.cli.session import NOT_ATTEMPTED_AGAIN, Session
from arkcli.cli.standard import rotation_notes, short_notes
from arkcli.cli.watching import awaiting
from arkcli.errors import ExitCode
from arkcli.model import Outcome
from arkcli.signing import Secret
from arkcli.signing.secrets import read_secret, read_secret_file, reference, resolve_secret
from arkcli.signing.standard import serialized
from arkcli.store.store import Contents
from arkcli.text import counted

app = App("Show or change the signing secret of all destinations.")

_MADE: Final = "saved the signing secret; give it to your receivers, then add them with `ark dest add URL`"
Reveal = Annotated[bool, typer.Option("--reveal", help="Print the secret.")]


@app.command()
def show(
    context: typer.Context,
    reveal: Reveal = False,
    standard_webhooks: Annotated[
        bool,
        typer.Option(
            "--standard-webhooks", help="Show it as `whsec_…`, the form that libraries of Standard Webhooks take."
        ),
    ] = False,
) -> Printout:
    """Show where the signing secret of all destinations is kept. With --reveal, print the secret instead.

    Example: ark secret show --reveal
    """
    return _said(session_of(context), reveal=reveal, standard=standard_webhooks)


@app.command("set")
def set_(context: typer.Context, secret_file: SecretFile = None, yes: Yes = False) -> Printout:
    """Set the signing secret of all destinations, read from standard input or --secret-file. The input may also be
    `env:NAME` or `file:PATH`, which say where the secret is. The old secret is kept as `previous` in destinations.toml.

    Example: ark secret set < secret.txt
    """
    session = session_of(context)
    if secret_file is not None:
        given = read_secret_file(secret_file)
    else:
        if session.stdin.isatty():
            session.stderr.write("Type the signing secret, then Enter and Ctrl-D:\n")
            session.stderr.flush()
        given = read_secret(session.stdin, "standard input")
    resolve_secret(given, session.variables, "the secret")
    return _replace(session, given, yes=yes, reveal=False)


@app.command()
def rotate(
    context: typer.Context,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="First send each destination a ping signed with the new secret; change nothing unless all accept it.",
        ),
    ] = False,
    secret_file: Annotated[
        Path | None,
        typer.Option("--secret-file", help="Use the secret in this file, which your receivers may know already."),
    ] = None,
    reveal: Reveal = False,
    yes: Yes = False,
) -> Printout:
    """Generate a new signing secret for all destinations. Waiting deliveries are signed with it, too: prepare your
    receivers to accept a second secret first. The old secret is kept as `previous` in destinations.toml.

    Example: ark secret rotate --probe --secret-file secret.txt
    """
    session = session_of(context)
    if secret_file is None:
        secret = destinations.new_secret(session.home)
        helps = (
            "Your receivers cannot know a secret that was generated just now: write one to a file, make them accept it "
            "beside the current one, and run `ark secret rotate --probe --secret-file FILE`"
        )
    else:
        secret = read_secret_file(secret_file)
        resolve_secret(secret, session.variables, "the secret")
        helps = "Make your receivers accept it beside the current one, and try again"
    return _replace(session, secret, yes=yes, reveal=reveal, helps=helps if probe else "")


def _replace(session: Session, secret: Secret, *, yes: bool, reveal: bool, helps: str = "") -> Printout:
    """Saves the secret. On a terminal it asks first where destinations are signed with another one.

    With `helps`, every destination has to accept a ping signed with it; `helps` says what to do if one does not.
    """
    contents = session.home.store.read()
    before = contents.workspace.secret
    users = [found for found in contents.destinations if found.secret is None]
    is_another = before is not None and before != secret
    if is_another and users and not yes and session.stdin.isatty():
        signed = counted(len(users), "destination is", "destinations are")
        ask(session, f"{signed} signed with the current secret, and receivers refuse another. Replace it?")
    probed = _probe(session, contents, secret, helps) if helps else Printout({})
    if probed.status is not ExitCode.DONE:
        document = {"secret": None, "source": None} if before is None else _said(session, reveal=False).document
        return probed._replace(document={**document, **probed.document})
    with session.home.store.change() as contents:
        if contents.workspace.secret != secret:
            change_shared(contents, secret, session.home.clock.now())
    if before != secret:
        session.process.accepted = "replaced the signing secret; your receivers need the new one"
    is_known = helps and all(not found.paused for found in users)
    needed = "your receivers accept the new secret" if is_known else "your receivers need the new secret"
    note = f"{needed}; the one before is `previous` in {session.home.store.name}"
    said = _said(session, reveal=reveal)
    return said._replace(
        document={**said.document, **probed.document},
        # With --reveal, standard output is the secret alone.
        text=[*([] if reveal else probed.text), *said.text],
        notes=[
            *probed.notes,
            *([note, *rotation_notes(contents, users)] if is_another else [_MADE] if before is None else []),
        ],
    )


def _probe(session: Session, contents: Contents, secret: Secret, helps: str) -> Printout:
    """What each destination answers to a ping signed with the secret. Its status is DONE if all accepted it."""
    session.stop_on_signals(NOT_ATTEMPTED_AGAIN)
    resolved = resolve_secret(secret, session.variables, "the secret")
    output = session.output()
    with awaiting(session, output) as look:
        answers = destinations.probe(session.home, contents, resolved, session.process.stopping, look)
    refused = [found.name for found, answer in answers if answer.outcome is Outcome.FAILED]
    paused = [found.name for found in contents.destinations if found.secret is None and found.paused]
    notes = [f"{name} is paused and got no ping" for name in paused]
    table = [pings_table(answers, drawn=output.on_a_terminal)] if answers else []
    printed = Printout({"probe": pings_json(answers)}, table, notes)
    if session.process.stopping():
        return printed._replace(warnings=["interrupted: nothing was changed"], status=ExitCode.INTERRUPTED)
    if refused:
        named = f"{refused[0]} does" if len(refused) == 1 else f"{counted(len(refused), 'destination')} do"
        why = f"nothing was changed: {named} not accept a ping signed with the new secret. {helps}"
        return printed._replace(warnings=[why], status=ExitCode.FAILED)
    return printed


def _said(session: Session, *, reveal: bool, standard: bool = False) -> Printout:
    contents = session.home.store.read()
    secret = session.home.workspace_secret(contents)
    notes = short_notes(secret) if standard else []
    secret = serialized(secret) if standard else secret
    stored = contents.workspace.secret
    source = (stored and reference(stored)) or session.home.store.name
    shown = secret.reveal().decode("utf-8", "replace") if reveal else str(secret)
    option = " --standard-webhooks" if standard else ""
    hint = f"{shown}  (from {source}; `ark secret show{option} --reveal` prints it)"
    text = shown if reveal else session.output().screen.folded(hint, " " * 5)
    return Printout({"secret": shown, "source": source}, [text], notes, always=True)

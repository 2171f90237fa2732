"""`ark secret`: the shared signing secret."""

from typing import Annotated

import typer

from arkcli.actions import destinations
from arkcli.cli.command import App
from arkcli.cli.options import SecretFile, Yes, ask, session_of
from arkcli.cli.printout import Printout
from arkcli.cli.session import Session
from arkcli.signing import Secret
from arkcli.signing.secrets import read_secret, read_secret_file, reference, resolve_secret
from arkcli.text import counted

app = App("Show or change the signing secret of all destinations.")

Reveal = Annotated[bool, typer.Option("--reveal", help="Print the secret.")]


@app.command()
def show(context: typer.Context, reveal: Reveal = False) -> Printout:
    """Show where the signing secret of all destinations is kept. With --reveal, print the secret instead.

    Example: ark secret show --reveal
    """
    return _said(session_of(context), reveal=reveal)


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
def rotate(context: typer.Context, reveal: Reveal = False, yes: Yes = False) -> Printout:
    """Generate a new signing secret for all destinations. Waiting deliveries are signed with it, too: prepare your
    receivers to accept a second secret first. The old secret is kept as `previous` in destinations.toml.

    Example: ark secret rotate --reveal
    """
    session = session_of(context)
    return _replace(session, destinations.new_secret(session.home), yes=yes, reveal=reveal)


def _replace(session: Session, secret: Secret, *, yes: bool, reveal: bool) -> Printout:
    """Saves the secret. On a terminal it asks first where destinations are signed with another one."""
    contents = session.home.store.read()
    before = contents.workspace.secret
    users = sum(found.secret is None for found in contents.destinations)
    is_another = before is not None and before != secret
    if is_another and users and not yes and session.stdin.isatty():
        signed = counted(users, "destination is", "destinations are")
        ask(session, f"{signed} signed with the current secret, and receivers refuse another. Replace it?")
    with session.home.store.change() as contents:
        if contents.workspace.secret != secret:
            contents.workspace.previous = contents.workspace.secret
            contents.workspace.secret = secret
    if before != secret:
        session.process.accepted = "replaced the signing secret; your receivers need the new one"
    note = f"your receivers need the new secret; the one before is `previous` in {session.home.store.path}"
    return _said(session, reveal=reveal)._replace(notes=[note] if is_another else [])


def _said(session: Session, *, reveal: bool) -> Printout:
    contents = session.home.store.read()
    secret = session.home.workspace_secret(contents)
    stored = contents.workspace.secret
    source = (stored and reference(stored)) or str(session.home.store.path)
    shown = secret.reveal().decode("utf-8", "replace") if reveal else str(secret)
    hint = f"{shown}  (from {source}; `ark secret show --reveal` prints it)"
    text = shown if reveal else session.output().screen.folded(hint, " " * 5)
    return Printout({"secret": shown, "source": source}, [text], always=True)

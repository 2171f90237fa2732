"""`ark secret`: the workspace's signing secret."""

from typing import Annotated

import typer

from arkcli.actions import destinations
from arkcli.cli.command import App
from arkcli.cli.options import SecretFile, session_of
from arkcli.cli.printout import Printout
from arkcli.cli.session import Session
from arkcli.signing import Secret
from arkcli.signing.secrets import read_secret, read_secret_file, reference, resolve_secret

app = App("Show or change the shared signing secret.")

Reveal = Annotated[bool, typer.Option("--reveal", help="Also print the secret.")]


@app.command()
def show(context: typer.Context, reveal: Reveal = False) -> Printout:
    """Show where the shared signing secret is kept. With --reveal, also print it.

    Example: ark secret show --reveal
    """
    return _said(session_of(context), reveal=reveal)


@app.command("set")
def set_(context: typer.Context, secret_file: SecretFile = None) -> Printout:
    """Set the shared signing secret, read from standard input or --secret-file. You can also give `env:NAME` or
    `file:PATH`, the place that holds it.

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
    _save(session, given)
    return _said(session_of(context), reveal=False)


@app.command()
def rotate(context: typer.Context, reveal: Reveal = False) -> Printout:
    """Generate a new shared signing secret. It signs waiting deliveries, too, so tell your receivers first.

    Example: ark secret rotate --reveal
    """
    session = session_of(context)
    _save(session, destinations.new_secret(session.home))
    return _said(session_of(context), reveal=reveal)


def _save(session: Session, secret: Secret) -> None:
    with session.home.store.change() as contents:
        contents.workspace.secret = secret
    session.process.accepted = "replaced the signing secret; your receivers need the new one"


def _said(session: Session, *, reveal: bool) -> Printout:
    contents = session.home.store.read()
    secret = session.home.workspace_secret(contents)
    stored = contents.workspace.secret
    source = (stored and reference(stored)) or str(session.home.store.path)
    shown = secret.reveal().decode("utf-8", "replace") if reveal else str(secret)
    text = shown if reveal else f"{shown}  (from {source}; `ark secret show --reveal` prints it)"
    return Printout({"secret": shown, "source": source}, [text], always=True)

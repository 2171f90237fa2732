"""`ark secret`: the workspace's signing secret."""

from typing import Annotated

import typer

from arkcli.actions import destinations
from arkcli.cli.command import App
from arkcli.cli.options import SecretFile, environment_of
from arkcli.cli.printout import Printout
from arkcli.environment import Environment
from arkcli.signing import Secret
from arkcli.signing.secrets import read_secret, read_secret_file, reference, resolve_secret

app = App("Show and change the signing secret.")

Reveal = Annotated[bool, typer.Option("--reveal", help="Print the secret itself.")]


@app.command()
def show(context: typer.Context, reveal: Reveal = False) -> Printout:
    """Show where the signing secret is, and with --reveal the secret.

    Example: ark secret show --reveal
    """
    return _said(environment_of(context), reveal=reveal)


@app.command("set")
def set_(context: typer.Context, secret_file: SecretFile = None) -> Printout:
    """Set the signing secret, from standard input or --secret-file. It may be `env:NAME` or `file:PATH`.

    Example: ark secret set < secret.txt
    """
    environment = environment_of(context)
    if secret_file is not None:
        given = read_secret_file(secret_file)
    else:
        if environment.stdin.isatty():
            environment.stderr.write("Type the signing secret, then Enter and Ctrl-D:\n")
            environment.stderr.flush()
        given = read_secret(environment.stdin, "standard input")
    resolve_secret(given, environment.variables, "the secret")
    _save(environment, given)
    return _said(environment_of(context), reveal=False)


@app.command()
def rotate(context: typer.Context, reveal: Reveal = False) -> Printout:
    """Generate a new signing secret. What waits in the queue is signed with it, too: tell your receivers first.

    Example: ark secret rotate --reveal
    """
    environment = environment_of(context)
    _save(environment, destinations.new_secret(environment))
    return _said(environment_of(context), reveal=reveal)


def _save(environment: Environment, secret: Secret) -> None:
    with environment.store.change() as contents:
        contents.workspace.secret = secret


def _said(environment: Environment, *, reveal: bool) -> Printout:
    contents = environment.store.read()
    secret = environment.workspace_secret(contents)
    stored = contents.workspace.secret
    source = (stored and reference(stored)) or str(environment.store.path)
    shown = secret.reveal().decode("utf-8", "replace") if reveal else str(secret)
    text = shown if reveal else f"{shown}  (from {source}; `ark secret show --reveal` prints it)"
    return Printout({"secret": shown, "source": source}, [text], always=True)

"""`ark sign`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from arkcli import signing
from arkcli.cli.command import App
from arkcli.cli.options import SecretFile, find_secrets, session_of
from arkcli.cli.printout import Printout
from arkcli.errors import UsageError

app = App()
_PIECE = 1024 * 1024

File = Annotated[Path | None, typer.Argument(metavar="[FILE]", help="The file with the body. Default: standard input.")]


@app.command()
def sign(
    context: typer.Context,
    file: File = None,
    secret: Annotated[
        str | None,
        typer.Option(
            "--secret", help="The signing secret. Other users can see it in the process list: prefer --secret-file."
        ),
    ] = None,
    secret_file: SecretFile = None,
) -> Printout:
    """Print the signature for a body's exact bytes.

    The secret comes from --secret, --secret-file or ARK_SECRET; otherwise it is the one in
    destinations.toml.

    Example: ark sign --secret-file secret.txt < body.json
    """
    session = session_of(context)
    keys = find_secrets(session, [secret] if secret is not None else None, secret_file)
    signature = signing.sign(keys[0], read_pieces(file, session.stdin))
    return Printout({"signature": signature}, [signature], always=True)


def read_pieces(file: Path | None, stdin: BinaryIO) -> Iterator[bytes]:
    """Yields the bytes of a file, or of standard input, in pieces of at most 1 MiB. Raises UsageError."""
    if file is None or str(file) == "-":
        yield from iter(lambda: stdin.read(_PIECE), b"")
        return
    try:
        with file.open("rb") as opened:
            yield from iter(lambda: opened.read(_PIECE), b"")
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None

"""`ark sign`."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from arkcli import signing
from arkcli.cli.command import App
from arkcli.cli.options import SecretFile, find_secrets, session_of
from arkcli.cli.printout import Printout
from arkcli.errors import UsageError
from arkcli.signing.scheme import STANDARD

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
    webhook_id: Annotated[
        str | None,
        typer.Option(
            "--webhook-id",
            metavar="ID",
            help="Print the header lines of Standard Webhooks instead, for a delivery with this id, sent now.",
        ),
    ] = None,
) -> Printout:
    """Print the signature for a body's exact bytes.

    The secret comes from --secret, --secret-file or ARK_SECRET; otherwise it is the one in
    destinations.toml.

    Example: ark sign --secret-file secret.txt < body.json
    """
    session = session_of(context)
    keys = find_secrets(session, [secret] if secret is not None else None, secret_file)
    pieces = read_pieces(file, session.stdin)
    if webhook_id is None:
        signature = signing.sign(keys[0], pieces)
        return Printout({"signature": signature}, [signature], always=True)
    if not re.fullmatch(r"[!-~]{1,256}", webhook_id):
        raise UsageError("--webhook-id takes up to 256 printable ASCII characters without spaces")
    values = STANDARD.signer(keys[0])(webhook_id, session.home.clock.now() // 1000, b"".join(pieces))
    headers = dict(zip(STANDARD.headers, values, strict=True))
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return Printout({"signature": values[-1], "headers": headers}, lines, always=True)


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

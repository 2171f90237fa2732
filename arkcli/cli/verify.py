"""`ark verify`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from arkcli.cli.command import App
from arkcli.cli.options import SecretFile, SecretText, find_secrets, output_of, session_of
from arkcli.cli.printout import Printout
from arkcli.cli.session import Session
from arkcli.cli.sign import File, read_pieces
from arkcli.errors import ExitCode
from arkcli.signing.verdict import judge

if TYPE_CHECKING:
    from arkcli.signing import Secret

app = App()


@app.command()
def verify(
    context: typer.Context,
    file: File = None,
    signature: Annotated[
        str, typer.Option("--signature", "-s", help="The signature header's value, or all header lines.")
    ] = ...,  # type: ignore[assignment] # typer's way to say that it is required
    secret: SecretText = None,
    secret_file: SecretFile = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="If the signature does not match, try the usual causes and name what fits."),
    ] = False,
) -> Printout:
    """Check whether a signature matches a body's exact bytes. Prints `valid` and exits 0, or prints the reason and
    exits 1.

    The secret comes from --secret (repeat it to try several), --secret-file or ARK_SECRET; otherwise it is the
    one in destinations.toml.

    Example: ark verify --secret-file secret.txt --signature 3a7f… --explain < body.json
    """
    session = session_of(context)
    secrets = find_secrets(session, secret, secret_file)
    output = output_of(context)
    pieces = read_pieces(file, session.stdin)
    held = bytearray() if explain else None
    verdict = judge(secrets, pieces if held is None else _holding(pieces, held), signature)
    if verdict.valid:
        return Printout({"valid": True, "reason": None, "explanation": None, "cause": None}, ["valid"])
    cause, explanation = (None, None) if held is None else _explained(session, held, pieces, signature, secrets)
    document = {"valid": False, "reason": verdict.reason, "explanation": explanation, "cause": cause}
    if not output.as_json:
        session.stderr.write(f"invalid: {verdict.reason}\n")
        if explanation is not None:
            session.stderr.write(f"{explanation}\n")
    return Printout(document, status=ExitCode.FAILED)


def _holding(pieces: Iterator[bytes], held: bytearray) -> Iterator[bytes]:
    """Yields the pieces and keeps up to LARGEST bytes in `held`, plus one that shows that the body is larger."""
    from arkcli.signing.explain.search import LARGEST

    for piece in pieces:
        held += piece[: LARGEST + 1 - len(held)]
        yield piece


def _explained(
    session: Session, held: bytearray, rest: Iterator[bytes], signature: str, secrets: "list[Secret]"
) -> tuple[str | None, str]:
    from arkcli.signing.explain.search import NOTHING_FITS
    from arkcli.signing.explain.search import explain as explain_mismatch

    # A malformed signature is rejected before the body is read, so read it now.
    for _ in _holding(rest, held):
        pass
    found = explain_mismatch(bytes(held), signature, secrets, session.home.known_secrets())
    return (found.cause, found.text) if found else (None, NOTHING_FITS)

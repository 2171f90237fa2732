"""`ark verify`."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from arkcli.cli.command import App
from arkcli.cli.options import SecretFile, SecretText, find_secrets, output_of, session_of
from arkcli.cli.printout import Printout
from arkcli.cli.session import Session
from arkcli.cli.sign import File, read_pieces
from arkcli.errors import ExitCode, UsageError
from arkcli.signing.verdict import judge

if TYPE_CHECKING:
    from arkcli.signing import Secret

app = App()


@app.command()
def verify(
    context: typer.Context,
    file: File = None,
    signature: Annotated[
        str | None, typer.Option("--signature", "-s", help="The signature header's value, or all header lines.")
    ] = None,
    request: Annotated[
        Path | None,
        typer.Option(
            "--request",
            metavar="FILE",
            help="A whole request in place of --signature and the body: raw HTTP, a line of `ark listen --save`, or a "
            "HAR file. FILE#2 is its second request; - is standard input.",
        ),
    ] = None,
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

    Example: ark verify --secret-file secret.txt --request received.http --explain
    """
    session = session_of(context)
    secrets = find_secrets(session, secret, secret_file)
    output = output_of(context)
    given = _given(session, file, signature) if request is None else _requested(session, file, signature, request)
    held = bytearray() if explain else None
    verdict = judge(secrets, given.pieces if held is None else _holding(given.pieces, held), given.signature)
    cause, explanation = None, None
    if held is not None and not verdict.valid:
        cause, explanation = _explained(session, held, given, secrets)
    document: dict[str, Any] = {
        "valid": verdict.valid,
        "reason": verdict.reason,
        "explanation": explanation,
        "cause": cause,
        "remarks": given.remarks,
    }
    if verdict.valid:
        return Printout(document, ["valid"], given.remarks)
    if not output.as_json:
        session.stderr.write(f"invalid: {verdict.reason}\n")
        if explanation is not None:
            session.stderr.write(f"{explanation}\n")
    return Printout(document, notes=given.remarks, status=ExitCode.FAILED)


class _Given(NamedTuple):
    """What to verify: the signature (None if a request has none), the body in pieces, and remarks on the body.

    `claimed` is what to explain: the signature, or a header line that may be another sender's.
    """

    signature: str | None
    pieces: Iterator[bytes]
    claimed: str
    remarks: Sequence[str] = ()


def _given(session: Session, file: Path | None, signature: str | None) -> _Given:
    if signature is None:
        raise UsageError("give the signature with --signature, or the whole request with --request")
    return _Given(signature, read_pieces(file, session.stdin), signature)


def _requested(session: Session, file: Path | None, signature: str | None, request: Path) -> _Given:
    """A request in a file, of which `#N` behind the file's name is the Nth. Raises UsageError."""
    from arkcli.receiver import pasted

    if signature is not None or file is not None:
        raise UsageError("--request FILE has the signature and the body; leave out --signature and the other FILE")
    numbered = None if request.exists() else re.fullmatch(r"(.+)#(\d+)", str(request), re.DOTALL)
    name, number = (numbered[1], int(numbered[2])) if numbered else (str(request), None)
    data = b"".join(read_pieces(Path(name), session.stdin))
    try:
        found = pasted.read(data, number)
    except UsageError as error:
        raise UsageError(f"{'standard input' if name == '-' else name}: {error}") from None
    own = next(iter(found.signatures()), None)
    return _Given(own, iter([found.request.body or b""]), own or found.other_signature(), found.remarks)


def _holding(pieces: Iterator[bytes], held: bytearray) -> Iterator[bytes]:
    """Yields the pieces and keeps up to LARGEST bytes in `held`, plus one that shows that the body is larger."""
    from arkcli.signing.explain.search import LARGEST

    for piece in pieces:
        held += piece[: LARGEST + 1 - len(held)]
        yield piece


def _explained(session: Session, held: bytearray, given: _Given, secrets: "list[Secret]") -> tuple[str | None, str]:
    from arkcli.signing.explain.search import NOTHING_FITS
    from arkcli.signing.explain.search import explain as explain_mismatch

    # A malformed signature is rejected before the body is read, so read it now.
    for _ in _holding(given.pieces, held):
        pass
    found = explain_mismatch(bytes(held), given.claimed, secrets, session.home.known_secrets())
    return (found.cause, found.text) if found else (None, NOTHING_FITS)

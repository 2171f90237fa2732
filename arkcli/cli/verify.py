"""`ark verify`."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from arkcli.cli.command import App
from arkcli.cli.options import SecretFile, SecretText, find_secrets, parse_time, session_of
from arkcli.cli.printout import Printout
from arkcli.cli.session import Session
from arkcli.cli.sign import File, read_pieces
from arkcli.contract.headers import DELIVERY_HEADER
from arkcli.errors import ExitCode, UsageError
from arkcli.signing import SIGNATURE_HEADER, Secret
from arkcli.signing.standard import Webhook
from arkcli.signing.verdict import Signature, Verdict, claimed, judge

app = App()


@app.command()
def verify(
    context: typer.Context,
    file: File = None,
    signature: Annotated[
        list[str] | None,
        typer.Option("--signature", "-s", help="The signature header's value, or all header lines. Repeatable."),
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
    at: Annotated[
        str | None,
        typer.Option(
            "--at", metavar="TIME", help="Check webhook-timestamp as of this time: when a saved request came."
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

    With the three header lines of Standard Webhooks it checks those, too: webhook-timestamp may be 5 minutes off.

    The secret comes from --secret (repeat it to try several), --secret-file or ARK_SECRET; otherwise it is the
    one in destinations.toml.

    Example: ark verify --secret-file secret.txt --signature 3a7f… --explain < body.json

    Example: ark verify --secret-file secret.txt --request received.http --explain
    """
    session = session_of(context)
    secrets = find_secrets(session, secret, secret_file)
    output = session.output()
    now = session.home.clock.now()
    at_time = now if at is None else parse_time(at, now, "--at")
    given = _given(session, file, signature) if request is None else _requested(session, file, signature, request)
    held = bytearray() if explain else None
    pieces = given.pieces if held is None else _holding(given.pieces, held)
    verdict = judge(secrets, pieces, given.signature, given.webhook, at_time)
    cause, explanation = None, None
    if held is not None and not verdict.valid:
        cause, explanation = _explained(session, held, given, verdict, secrets)
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
        output.verdict("invalid", verdict.reason or "", explanation)
    return Printout(document, notes=given.remarks, status=ExitCode.FAILED)


class _Given(NamedTuple):
    """What to verify: the signatures (None if a request has none), the body in pieces, and remarks on the body.

    `other` is what else to explain: text that may be another sender's signature.
    """

    signature: str | None
    webhook: Webhook | None
    pieces: Iterator[bytes]
    other: str
    remarks: Sequence[str] = ()


def _given(session: Session, file: Path | None, signatures: Sequence[str] | None) -> _Given:
    if not signatures:
        raise UsageError("give the signature with --signature, or the whole request with --request")
    text, pieces = "\n".join(signatures), read_pieces(file, session.stdin)
    lines = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in text.split("\n"))
    }
    webhook = Webhook.of(lines.get, DELIVERY_HEADER.lower())
    return _Given(text if webhook is None else lines.get(SIGNATURE_HEADER.lower()), webhook, pieces, text)


def _requested(session: Session, file: Path | None, signature: Sequence[str] | None, request: Path) -> _Given:
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
    own, webhook = next(iter(found.signatures()), None), Webhook.of(found.request.header, DELIVERY_HEADER)
    return _Given(own, webhook, iter([found.request.body or b""]), found.other_signature(), found.remarks)


def _holding(pieces: Iterator[bytes], held: bytearray) -> Iterator[bytes]:
    """Yields the pieces and keeps up to LARGEST bytes in `held`, plus one that shows that the body is larger."""
    from arkcli.signing.explain.search import LARGEST

    for piece in pieces:
        held += piece[: LARGEST + 1 - len(held)]
        yield piece


def _explained(
    session: Session, held: bytearray, given: _Given, verdict: Verdict, secrets: list[Secret]
) -> tuple[str | None, str]:
    from arkcli.signing.explain.search import NOTHING_FITS, NOTHING_FITS_HEADERS
    from arkcli.signing.explain.search import explain as explain_mismatch

    # A malformed signature is rejected before the body is read, so read it now.
    for _ in _holding(given.pieces, held):
        pass
    signature = claimed(verdict, given.signature, given.webhook) or given.other
    found = explain_mismatch(bytes(held), signature, secrets, session.home.known_secrets())
    if found is not None:
        return found.cause, found.text
    return None, NOTHING_FITS_HEADERS if verdict.signature is Signature.VALID else NOTHING_FITS

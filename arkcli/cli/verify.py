"""`ark verify`."""

from typing import Annotated

import typer

from arkcli import signing
from arkcli.cli.command import App
from arkcli.cli.options import Json, Quiet, SecretFile, SecretText, environment_of, find_secrets, output_of
from arkcli.cli.sign import File, read_pieces
from arkcli.errors import ExitCode

app = App()


@app.command()
def verify(
    context: typer.Context,
    file: File = None,
    signature: Annotated[
        str, typer.Option("--signature", "-s", help="The signature header's value, or the whole header line.")
    ] = ...,  # type: ignore[assignment] # typer's way to say that it is required
    secret: SecretText = None,
    secret_file: SecretFile = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check that a signature belongs to a body's exact bytes: exit 0 and `valid`, or exit 1 and the reason.

    The secret: --secret (repeated: any of them), --secret-file, ARK_SECRET, else the store's.

    Example: ark verify --secret-file secret.txt --signature 3a7f… < body.json
    """
    environment = environment_of(context)
    secrets = find_secrets(environment, secret, secret_file)
    output = output_of(context, as_json=as_json, quiet=quiet)
    if signing.verify(secrets, read_pieces(file, environment.stdin), signature):
        output.result({"valid": True, "reason": None, "explanation": None}, "valid")
        return
    reason = _reason(signature)
    output.result({"valid": False, "reason": reason, "explanation": None})
    if not as_json:
        environment.stderr.write(f"invalid: {reason}\n")
    raise typer.Exit(ExitCode.FAILED)


def _reason(signature: str) -> str:
    if not signature.strip():
        return "the signature is empty"
    if signing.normalized(signature) is None:
        return "the signature is not 64 hex digits, so it is no HMAC-SHA256 in hex"
    return "the signature does not belong to these bytes under this secret"

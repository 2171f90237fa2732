"""What is sent to the application again: a body as text to edit, and a request that is signed again."""

import msgspec

from arkcli.contract.headers import DELIVERY_HEADER
from arkcli.httpd.messages import Request
from arkcli.signing import Secret
from arkcli.signing.scheme import BODY, SCHEMES
from arkcli.signing.standard import ID_HEADER


def signed_again(request: Request, body: bytes, secret: Secret, at: int) -> Request:
    """The request with this body and its length, and all other headers as they are, in their order.

    It is signed at a time (seconds since 1970, UTC) by every scheme that signed it before, and by the documented one.
    """
    given = {name.decode("latin-1").lower() for name, _ in request.headers}
    delivery = request.header(ID_HEADER) or request.header(DELIVERY_HEADER) or ""
    signed = [
        signature
        for scheme in SCHEMES
        if scheme is BODY or given & {name.lower() for name in scheme.headers}
        for signature in zip(scheme.headers, scheme.signer(secret)(delivery, at, body), strict=True)
    ]
    made = {name.lower(): (name.encode(), value.encode()) for name, value in signed}
    if "content-length" in given:
        made["content-length"] = (b"Content-Length", b"%d" % len(body))
    # Each in its old place, so that a diff shows what is new.
    named = [(header[0].decode("latin-1").lower(), header) for header in request.headers]
    again = set(made)
    kept = [made.pop(name, None) if name in again else header for name, header in named]
    headers = (*filter(None, kept), *made.values())
    return Request(request.method, request.target, headers, body, request.version)


def text_of(body: bytes) -> bytes:
    """A body as a person reads and edits it: JSON over several lines, with all its strings and numbers as written."""
    try:
        return msgspec.json.format(body, indent=2) + b"\n"
    except (msgspec.DecodeError, RecursionError):
        return body


def body_of(text: bytes, before: bytes) -> bytes:
    """The body that an edited text means. `before` is the body that `text_of` made it from.

    JSON is compact again; anything else stays as it is, without the newline that an editor adds.
    """
    if text == text_of(before):
        return before
    try:
        return msgspec.json.format(text, indent=-1)
    except (msgspec.DecodeError, RecursionError):
        return text if before.endswith(b"\n") else text.removesuffix(b"\n")

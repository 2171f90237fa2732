"""Teaches Schemathesis to send a body of lines."""

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(_context: object, value: object) -> bytes:
    """The text as it is."""
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else repr(value).encode()

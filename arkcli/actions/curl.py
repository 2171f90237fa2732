"""A request as a shell command that runs curl. It contains no secret and no signature; it signs when it is run."""

import re
from collections.abc import Iterable, Mapping
from shlex import quote
from typing import Final

from arkcli.signing import SIGNATURE_HEADER
from arkcli.text import clean

#: Options that make curl behave like `ark`: ignore ~/.curlrc (-q, which must come first), one deadline for everything,
#: no proxy, no rewriting of the URL, and a failing exit status for HTTP errors.
_LIKE_ARK: Final = "-q --silent --show-error --fail --http1.1 --max-time 10 --noproxy '*' --globoff --path-as-is"


def command(
    name: str,
    url: str,
    headers: Mapping[str, str | None],
    body: bytes,
    ca_file: str | None,
    webhook_id: str | None = None,
) -> str:
    """An sh(1) command that posts a UTF-8 body to a destination with this name.

    `ark sign` signs it with the secret in ARK_SECRET, so that the secret never appears in the process list. The value
    of a header that is None here comes from the variable HEADER_ plus the header's name (plus a number where two would
    be equal), and does not appear there either. With `webhook_id` it also sends the headers of Standard Webhooks.
    """
    options = [f"--request POST --url {quote(url)}"]
    options += [] if ca_file is None else [f"--cacert {quote(ca_file)}"]
    options += [f"--header {quote(f'{header}: {value}')}" for header, value in headers.items() if value is not None]
    options.append(f'--header "{SIGNATURE_HEADER}: $signature"')
    secret = _variables(header for header, value in headers.items() if value is None)
    lent = [f"{_literal(header)}: ${{{name}?export the value of this header}}" for header, name in secret.items()]
    also = (
        [] if webhook_id is None else [f'webhook=$(printf %s "$body" | ark sign --webhook-id {quote(webhook_id)}) &&']
    )
    lent += ["$webhook"] if also else []
    options += ["--header @/dev/fd/3"] if lent else []
    options.append("--data-binary @-" + (" 3<<HEADERS" if lent else ""))
    lines = [
        f"# {clean(name)}",
        "(",
        f"body={quote(body.decode())}",
        ': "${ARK_SECRET:?export the signing secret of this destination}"',
        'signature=$(printf %s "$body" | ark sign) &&',
        *also,
        f'printf %s "$body" | curl {_LIKE_ARK} \\',
        *(f"  {option} \\" for option in options[:-1]),
        f"  {options[-1]}",
        *lent,
        *(["HEADERS"] if lent else []),
        ")",
    ]
    return "\n".join(lines)


def _literal(header: str) -> str:
    return re.sub(r"([$`\\])", r"\\\1", header)


def _variables(headers: Iterable[str]) -> dict[str, str]:
    """A unique variable name for each header, by header."""
    names: dict[str, str] = {}
    for header in headers:
        plain = name = "HEADER_" + re.sub(r"[^A-Z0-9]", "_", header.upper())
        number = 1
        while name in names.values():
            number += 1
            name = f"{plain}_{number}"
        names[header] = name
    return names

"""A request as a shell command that runs curl. It contains no secret and no signature; it signs when it is run."""

import re
from collections.abc import Iterable, Mapping
from shlex import quote
from typing import Final

from arkcli.model import Destination
from arkcli.signing import SIGNATURE_HEADER
from arkcli.text import clean
from arkcli.url import NO_PROXY, shown_proxy

#: Options that make curl behave like `ark`: ignore ~/.curlrc (-q, which must come first), one deadline for everything,
#: no rewriting of the URL, and a failing exit status for HTTP errors. The status is printed, because curl takes a
#: redirect for a success.
_LIKE_ARK: Final = (
    "-q --silent --show-error --fail --write-out '\\n%{http_code}\\n' --http1.1 --max-time 10 --globoff --path-as-is"
)


def command(
    destination: Destination, headers: Mapping[str, str | None], body: bytes, webhook_id: str | None = None
) -> str:
    """An sh(1) command that posts a UTF-8 body to a destination; its `proxy` is the setting in force.

    `ark sign` signs it with the secret in ARK_SECRET, so that the secret never appears in the process list. The value
    of a header that is None here comes from the variable HEADER_ plus the header's name (plus a number where two would
    be equal), and does not appear there either. Nor does a proxy's URL that may contain a password: it comes from
    ARK_PROXY. With `webhook_id` it also sends the headers of Standard Webhooks.
    """
    files = {"--cacert": destination.ca_file, "--cert": destination.client_cert, "--key": destination.client_key}
    options = [f"--request POST --url {quote(destination.url)}"]
    options += [f"{option} {quote(file)}" for option, file in files.items() if file is not None]
    proxy = None if destination.proxy is None else destination.proxy.reveal().decode()
    is_hidden = proxy is not None and (shown_proxy(proxy) != proxy or proxy.startswith(("env:", "file:")))
    if proxy is None or proxy == NO_PROXY:
        options.append("--noproxy '*'")
    else:
        # An empty list, so that NO_PROXY in the environment exempts nothing.
        options.append(
            "--noproxy '' --proxytunnel " + ("--config /dev/fd/4" if is_hidden else f"--proxy {quote(proxy)}")
        )
    options += [f"--header {quote(f'{header}: {value}')}" for header, value in headers.items() if value is not None]
    options.append(f'--header "{SIGNATURE_HEADER}: $signature"')
    secret = _variables(header for header, value in headers.items() if value is None)
    lent = [f"{_literal(header)}: ${{{name}?export the value of this header}}" for header, name in secret.items()]
    also = (
        [] if webhook_id is None else [f'webhook=$(printf %s "$body" | ark sign --webhook-id {quote(webhook_id)}) &&']
    )
    lent += ["$webhook"] if also else []
    options += ["--header @/dev/fd/3"] if lent else []
    options.append("--data-binary @-" + (" 3<<HEADERS" if lent else "") + (" 4<<PROXY" if is_hidden else ""))
    lines = [
        f"# {clean(destination.name)}",
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
        *(["proxy = ${ARK_PROXY?export the URL of the proxy}", "PROXY"] if is_hidden else []),
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

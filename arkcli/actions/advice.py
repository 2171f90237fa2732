"""Hints for failed attempts, one for each cause. Pure functions."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from arkcli.wire import answers

#: Patterns for a URL's scheme and an error, each with its hint. The first match counts.
_HINTS: Final = (
    (r"not a URL|a fragment|user name", "Correct the URL: `ark dest set NAME --url URL`"),
    (r" the name ", "Check the spelling of the host, and that this machine can resolve it"),
    (
        r"self-signed|issuer is not",
        "If your own certificate authority signed it, pass that authority's certificate with --ca-file",
    ),
    (r"does not verify", "The receiver needs another certificate"),
    (r"not speak TLS", "Check the port; a receiver without TLS takes http:// and --allow-local"),
    (r"requires a client", "Let the receiver take requests without one"),
    (
        r"allow-local|never connects",
        "Destinations must have a public address; --allow-local permits a private one of yours",
    ),
    (
        r"https .*connection (broke|was closed)",
        f"The receiver may require {answers.CLIENT_CERTIFICATE}; otherwise see its log",
    ),
    (r"http .*(broke|was closed|not HTTP)", "If the receiver expects https, write https://; otherwise see its log"),
    (r"answered 3", "Use the URL that it redirects to"),
    (
        r"answered [45]",
        "The receiver is reachable but must answer a POST with a 2xx; check the path, and the receiver's log",
    ),
    (r"CA file", "Check the file that --ca-file or SSL_CERT_FILE names"),
    (r"network sockets|be opened", "Allow IPv4 and IPv6, for example in RestrictAddressFamilies= of the systemd unit"),
    (r"", "Check that the receiver is reachable from here and answers a POST with a 2xx within 10 s"),
)


def hint(variables: Mapping[str, str], url: str, error: str) -> str:
    """What to check after an attempt at a URL failed with this error of an answer."""
    helps = next(helps for sign, helps in _HINTS if re.search(sign, f"{url.partition(':')[0].lower()} {error}"))
    return "; ".join(filter(None, (helps, unused_proxy(variables, url, error))))


def unused_proxy(variables: Mapping[str, str], url: str, error: str) -> str | None:
    """A note that `ark` does not use the proxy set in the environment, if that may be the cause; else None."""
    named = [name for name in variables if re.fullmatch("(https?|all)_proxy", name.lower()) and variables[name]]
    direct = f"localhost,127.0.0.1,::1,{variables.get('no_proxy') or variables.get('NO_PROXY') or '-'}".split(",")
    ends = tuple(f".{name.strip().lstrip('*.')}" for name in direct)
    if not named or not re.match("the name |no connection", error) or f".{urlsplit(url).hostname}".endswith(ends):
        return None
    return f"{named[0]} is set, but `ark` does not use proxies"

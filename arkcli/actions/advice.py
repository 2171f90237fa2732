"""Hints for failed attempts, one for each cause. Pure functions."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from arkcli.wire import answers

#: Patterns for a URL's scheme and an error, each with its hint. The first match counts.
_HINTS: Final = (
    # Proxies and client certificates.
    (
        r"proxy answered 407|proxy .*user name",
        "Put user name and password into the proxy's URL: USER:PASSWORD@HOST:PORT",
    ),
    (r"the name of the proxy|connection to the proxy", "Check the proxy's URL: `ark dest show NAME` shows it"),
    (r"proxy answered 40[35]|proxy does not allow", "Ask whoever runs the proxy to allow this host and port"),
    (r"proxy answered 50[234]|proxy found|proxy says", "Check the receiver's URL, and whether the proxy may reach it"),
    (r"the proxy's certificate", "SSL_CERT_FILE names the authorities to trust for a proxy"),
    (
        r"the proxy's answer|handshake with the proxy",
        "Check the proxy's scheme and port: http, https, socks5h or socks5",
    ),
    (r"the proxy's address", "Use another address of the proxy; no option permits this one"),
    (r"private network", "Without it, a destination must have a public address"),
    (r" the proxy ", "See the proxy's log, and whether it may reach the receiver"),
    (r"client certificate has expired", "Renew the client certificate: `ark dest set NAME --client-cert FILE`"),
    (r"client (certificate|key) .*(/|mode|PEM)", "Fix the file: its deliveries fail until then"),
    (
        r"(the issuer of|refuses.*|because of) the client certificate|certificate has been revoked",
        "Give the receiver's operator the authority that issued it, or use another one",
    ),
    (r"not a URL|a fragment|user name", "Correct the URL: `ark dest set NAME --url URL`"),
    (r" the name ", "Check the spelling of the host, and that this machine can resolve it"),
    # Certificates and TLS.
    (
        r"self-signed|issuer is not trusted",
        "If your own certificate authority signed it, pass that authority's certificate with --ca-file",
    ),
    (
        r"certificate .* has expired",
        "Renew the certificate that has expired, the receiver's or its authority's (then pass the new one with "
        "--ca-file), and check this machine's clock",
    ),
    (r"certificate .* not valid yet", "Check this machine's clock, and the date from which the certificate is valid"),
    (
        r"name constraints",
        "Give the receiver a certificate from an authority that may sign for this host; --ca-file does not help",
    ),
    (
        r"for another host",
        "Use the host name that the certificate is for, or give the receiver a certificate for this one",
    ),
    (r"does not verify", "The receiver needs another certificate"),
    (r"not speak TLS", "Check the port; a receiver without TLS takes http:// and --allow-local"),
    (r"unrecognized_name", "Check the spelling of the host; the server must be set up for this name"),
    (r"perhaps only HTTP/2", "Let the receiver take HTTP/1.1; `ark` does not speak HTTP/2"),
    (r"newer than TLS", "Let the receiver take TLS 1.2 or 1.3"),
    (r"requires a client", "Give one: `ark dest set NAME --client-cert FILE --client-key FILE`"),
    (r"handshake was not done", "Check the port, and that the receiver is not overloaded: it takes connections only"),
    # Addresses.
    (r"never connects", "Use another address of the receiver; no option permits this one"),
    (r"allow-local", "Without it, a destination must have a public address"),
    # Connections.
    (r"no answer within", "Let the receiver answer within 10 s: first answer, then do the work"),
    (r"no connection within", "A firewall may drop the packets; check the host, the port and the network between"),
    (r"connection refused", "Check the port, and that the receiver is running: nothing listens there"),
    (r"no connection: .*(unreachable|no route)", "Check the address, and this machine's network and firewall"),
    (
        r"https .*connection (broke|was closed)",
        f"The receiver may require {answers.CLIENT_CERTIFICATE}, or refuse the one it got; otherwise see its log",
    ),
    (
        r"http .*(broke|was closed|not HTTP|answered 400)",
        "If the receiver expects https, write https://; otherwise see its log",
    ),
    (r"not HTTP/1", "Check the port; the server may speak HTTP/2 only, which `ark` does not"),
    (r"before the request", "Let the receiver read the whole request before it answers"),
    # Answers.
    (r"answered 3", "Use the URL that it redirects to"),
    (
        r"answered 40[13]",
        "The receiver needs the signing secret, which `ark dest show NAME --reveal` prints, or credentials in --header",
    ),
    (r"answered 404", "Check the path of the URL: the server has nothing there"),
    (r"answered 405", "Check the path of the URL: what is there does not take a POST"),
    (r"answered 407", "A proxy on the way asks for a password; see the proxy's settings"),
    (r"answered 410", "The endpoint is gone for good: use its new URL, or `ark dest remove NAME`"),
    (r"answered 413", "Raise the limit for bodies at the receiver, and at the proxy in front of it"),
    (r"answered 415", "Let the receiver take Content-Type: application/json"),
    (r"answered 429", "The receiver limits requests; keep to its limit with `ark dest set NAME --rate 10/s`"),
    (r"answered 50[234]", "If a gateway answered, see whether the application behind it is running"),
    (r"answered 5", "The receiver's application failed; see its log"),
    (
        r"answered",
        "The receiver is reachable but must answer a POST with a 2xx; check the path, and the receiver's log",
    ),
    # This machine.
    (r"CA file", "Check the file that --ca-file or SSL_CERT_FILE names"),
    (r"network sockets|be opened", "Allow IPv4 and IPv6, for example in RestrictAddressFamilies= of the systemd unit"),
    (r"this machine is out of", "Raise that limit of this machine, or run fewer programs on it"),
    (r"", "Check that the receiver is reachable from here and answers a POST with a 2xx within 10 s"),
)


def hint(variables: Mapping[str, str], url: str, error: str) -> str:
    """What to check after an attempt at a URL failed with this error of an answer."""
    helps = next(helps for sign, helps in _HINTS if re.search(sign, f"{url.partition(':')[0].lower()} {error}"))
    return "; ".join(filter(None, (helps, unused_proxy(variables, url, error))))


def unused_proxy(variables: Mapping[str, str], url: str, error: str) -> str | None:
    """A note that `ark` does not use the proxy set in the environment, if that may be the cause; else None."""
    named = proxy_variable(variables)
    direct = f"localhost,127.0.0.1,::1,{variables.get('no_proxy') or variables.get('NO_PROXY') or '-'}".split(",")
    ends = tuple(f".{name.strip().lstrip('*.')}" for name in direct)
    is_direct = re.match("the name |no connection", error) and "proxy" not in error
    if not named or not is_direct or f".{urlsplit(url).hostname}".endswith(ends):
        return None
    return f"{named} is set, but `ark` does not use it; --proxy or [network] proxy does"


def proxy_variable(variables: Mapping[str, str]) -> str | None:
    """The name of an environment variable that gives other programs a proxy."""
    return next(
        (name for name in variables if re.fullmatch("(https?|all)_proxy", name.lower()) and variables[name]), None
    )

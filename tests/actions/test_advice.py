"""Hints for failed attempts. tests/cli/test_dest.py tests them with real servers."""

import pytest

from arkcli.actions import advice

HTTPS, HTTP = "https://hooks.example.com/x", "http://127.0.0.1:3000/x"
#: URLs written into destinations.toml by hand.
NO_URL, UNREADABLE = "https://host.example../a", "https://[::1/a"


@pytest.mark.parametrize(
    ("url", "error", "helps"),
    [
        (HTTPS, "the name cannot be resolved", "Check the spelling of the host"),
        (HTTPS, "the name was not resolved within 10 s", "Check the spelling of the host"),
        (NO_URL, f"{NO_URL!r} is not a URL: a host is letters, …", "Correct the URL: `ark dest set NAME --url URL`"),
        (UNREADABLE, f"{UNREADABLE!r} is not a URL: its host or port cannot be read", "Correct the URL: `ark dest"),
        (HTTPS + "#a", f"{HTTPS + '#…'!r} has a fragment, which is never sent; …", "Correct the URL: `ark dest set"),
        ("https://u:p@x/", "a URL with a user name or password would be shown; …", "Correct the URL: `ark dest set"),
        (
            HTTPS,
            "the certificate does not verify: it is self-signed",
            "If your own certificate authority signed it, pass",
        ),
        (
            HTTPS,
            "the certificate does not verify: its issuer is not trusted, or …",
            "If your own certificate authority",
        ),
        (HTTPS, "the certificate does not verify: it has expired, or …", "Renew the certificate that has expired"),
        (HTTPS, "the certificate does not verify: it is not valid yet; …", "Check this machine's clock"),
        (HTTPS, "the certificate does not verify: it is for another host: …", "Use the host name that"),
        (HTTPS, "the certificate does not verify: its authority may not … (name constraints)", "Give the receiver a"),
        (HTTPS, "the certificate does not verify: it is not meant for a server", "The receiver needs another certific"),
        (HTTPS, "the CA file cannot be used: …", "Check the file that --ca-file or SSL_CERT_FILE names"),
        (HTTPS, "the TLS handshake failed: the server there does not speak TLS", "Check the port; a receiver"),
        (
            HTTPS,
            "the TLS handshake failed: the receiver requires a client certificate (mTLS)",
            "Give one: `ark dest set",
        ),
        (
            HTTPS,
            "the TLS handshake failed: the receiver says that the client certificate has expired",
            "Renew the client",
        ),
        (
            HTTPS,
            "the TLS handshake failed: the receiver refuses the client certificate",
            "Give the receiver's operator",
        ),
        (HTTPS, "the client key /k belongs to user 1, who could change it; make it yours", "Fix the file"),
        (HTTPS, "the client certificate /c cannot be read: No such file or directory", "Fix the file"),
        (
            HTTPS,
            "the proxy answered 407: it wants a user name and password",
            "Put user name and password into the proxy",
        ),
        (HTTPS, "the proxy refused the user name and password", "Put user name and password into"),
        (HTTPS, "the proxy answered 403: it does not allow this destination", "Ask whoever runs the proxy"),
        (HTTPS, "the proxy does not allow this destination", "Ask whoever runs the proxy"),
        (HTTPS, "the proxy answered 502: it did not reach the receiver", "Check the receiver's URL, and whether"),
        (HTTPS, "the proxy found no way to the receiver", "Check the receiver's URL, and whether"),
        (HTTPS, "the name of the proxy cannot be resolved", "Check the proxy's URL"),
        (HTTPS, "no connection to the proxy: connection refused", "Check the proxy's URL"),
        (HTTPS, "the proxy's certificate does not verify: it is self-signed", "SSL_CERT_FILE names"),
        (HTTPS, "the proxy's answer is not HTTP/1.1", "Check the proxy's scheme and port"),
        (HTTPS, "the proxy answered 302: it made no connection", "See the proxy's log"),
        (HTTPS, "no answer from the proxy within 10 s", "See the proxy's log"),
        (HTTPS, "no answer within 10 s (through the proxy)", "Let the receiver answer within 10 s"),
        (
            HTTPS,
            "intranet is a name in a private network; --allow-local permits …",
            "Without it, a destination must",
        ),
        (
            HTTPS,
            "127.0.0.1 is a loopback address; --allow-local permits it …",
            "Without it, a destination must have a public address",
        ),
        (HTTPS, "169.254.0.1 is link-local, …; ark never connects to it", "Use another address of the receiver"),
        (
            HTTPS,
            "the TLS handshake failed: … (TLS alert unrecognized_name)",
            "Check the spelling of the host; the serv",
        ),
        (HTTPS, "the TLS handshake failed: …, perhaps only HTTP/2", "Let the receiver take HTTP/1.1"),
        (HTTPS, "the TLS handshake failed: … nothing newer than TLS 1.1", "Let the receiver take TLS 1.2 or 1.3"),
        (HTTPS, "the TLS handshake was not done within 10 s", "Check the port, and that the receiver is not overload"),
        (HTTPS, "what came back is not HTTP/1.1", "Check the port; the server may speak HTTP/2 only"),
        (HTTPS, "the server answered before the request had been sent", "Let the receiver read the whole request"),
        (HTTPS, "the connection was closed without an answer", "The receiver may require a client certificate (mTLS)"),
        (HTTPS, "the connection broke before the answer was complete", "The receiver may require a client certificate"),
        (HTTP, "the connection broke while the request was sent", "If the receiver expects https, write https://"),
        (HTTP, "the connection was closed without an answer", "If the receiver expects https, write https://"),
        (HTTP, "answered 400, not a 2xx", "If the receiver expects https, write https://"),
        (HTTPS, "answered 400, not a 2xx", "The receiver is reachable but must answer a POST with a 2xx"),
        (HTTP, "what came back is not HTTP/1.1", "If the receiver expects https, write https://"),
        (HTTPS, "answered 308, not a 2xx; ark does not follow redirects", "Use the URL that it redirects to"),
        (HTTPS, "answered 401, not a 2xx", "The receiver needs the signing secret, which `ark dest show NAME --rev"),
        (HTTPS, "answered 403, not a 2xx", "The receiver needs the signing secret, which `ark dest show NAME --rev"),
        (HTTPS, "answered 404, not a 2xx", "Check the path of the URL"),
        (HTTPS, "answered 405, not a 2xx", "Check the path of the URL: what is there does not take a POST"),
        (HTTPS, "answered 407, not a 2xx", "A proxy on the way asks for a password"),
        (HTTPS, "answered 410, not a 2xx", "The endpoint is gone for good"),
        (HTTPS, "answered 413, not a 2xx", "Raise the limit for bodies"),
        (HTTPS, "answered 415, not a 2xx", "Let the receiver take Content-Type: application/json"),
        (HTTPS, "answered 422, not a 2xx", "The receiver is reachable but must answer a POST with a 2xx"),
        (
            HTTPS,
            "answered 429, not a 2xx",
            "The receiver limits requests; keep to its limit with `ark dest set NAME --rate 10/s`",
        ),
        (HTTPS, "answered 500, not a 2xx", "The receiver's application failed; see its log"),
        (HTTPS, "answered 502, not a 2xx", "If a gateway answered"),
        (HTTPS, "answered 600, not a 2xx", "The receiver is reachable but must answer a POST with a 2xx"),
        (HTTPS, "this machine is out of network sockets (EACCES: …)", "Allow IPv4 and IPv6"),
        (HTTPS, "no connection can be opened: IPv6 is not available here", "Allow IPv4 and IPv6"),
        (HTTPS, "this machine is out of file descriptors (EMFILE)", "Raise that limit of this machine"),
        (HTTPS, "no connection: connection refused", "Check the port, and that the receiver is running"),
        (HTTPS, "no connection: network is unreachable", "Check the address, and this machine's network"),
        (HTTPS, "no connection: no route to host", "Check the address, and this machine's network"),
        (HTTPS, "no connection within 10 s", "A firewall may drop the packets"),
        (HTTPS, "no answer within 10 s", "Let the receiver answer within 10 s"),
        (HTTPS, "the answer is broken: …", "Check that the receiver is reachable"),
        (HTTPS, "", "Check that the receiver is reachable"),
    ],
)
def test_each_cause_has_a_hint_of_its_own(url: str, error: str, helps: str) -> None:
    assert advice.hint({}, url, error).startswith(helps)
    assert advice.hint({"HTTPS_PROXY": "http://proxy:3128"}, url, error).startswith(helps)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("error", ["the name cannot be resolved", "no connection within 10 s", "no connection: …"])
def test_a_proxy_that_is_not_used_is_told_of_where_there_is_no_way(name: str, error: str) -> None:
    said = f"{name} is set, but `ark` does not use it; --proxy or [network] proxy does"
    assert advice.unused_proxy({name: "http://proxy:3128"}, HTTPS, error) == said
    assert advice.hint({name: "http://proxy:3128"}, HTTPS, error).endswith(f"; {said}")


@pytest.mark.parametrize(
    ("variables", "url", "error"),
    [
        ({}, HTTPS, "no connection: …"),
        ({"HTTPS_PROXY": ""}, HTTPS, "no connection: …"),
        ({"FTP_PROXY": "http://proxy"}, HTTPS, "no connection: …"),
        ({"HTTPS_PROXY": "http://proxy"}, HTTPS, "answered 500, not a 2xx"),
        ({"HTTPS_PROXY": "http://proxy"}, HTTPS, ""),
        ({"HTTPS_PROXY": "http://proxy"}, HTTPS, "no connection to the proxy: connection refused"),
        ({"HTTPS_PROXY": "http://proxy"}, HTTPS, "the name of the proxy cannot be resolved"),
        ({"HTTPS_PROXY": "http://proxy"}, "http://127.0.0.1:3000/", "no connection: …"),
        ({"HTTPS_PROXY": "http://proxy"}, "http://LocalHost:3000/", "no connection: …"),
        ({"HTTPS_PROXY": "http://proxy"}, "http://[::1]:3000/", "no connection: …"),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "a.example, .example.com"}, HTTPS, "no connection: …"),
        ({"HTTPS_PROXY": "http://proxy", "no_proxy": "hooks.example.com"}, HTTPS, "no connection: …"),
    ],
)
def test_a_proxy_is_not_told_of_where_none_would_help(variables: dict[str, str], url: str, error: str) -> None:
    assert advice.unused_proxy(variables, url, error) is None


def test_a_host_that_only_ends_like_an_exception_is_no_exception() -> None:
    variables = {"HTTPS_PROXY": "http://proxy", "NO_PROXY": "ks.example.com,,"}
    assert advice.unused_proxy(variables, HTTPS, "no connection: …") is not None

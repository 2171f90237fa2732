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
        (HTTPS, "the certificate does not verify: it has expired; or …", "The receiver needs another certificate"),
        (HTTPS, "the CA file cannot be used: …", "Check the file that --ca-file or SSL_CERT_FILE names"),
        (HTTPS, "the TLS handshake failed: the server there does not speak TLS", "Check the port; a receiver"),
        (HTTPS, "the TLS handshake failed: the receiver requires a client certificate (mTLS), …", "Let the receiver"),
        (
            HTTPS,
            "127.0.0.1 is a loopback address; --allow-local permits it …",
            "Destinations must have a public address",
        ),
        (HTTPS, "169.254.0.1 is link-local, …; ark never connects to it", "Destinations must have a public address"),
        (HTTPS, "the connection was closed without an answer", "The receiver may require a client certificate (mTLS)"),
        (HTTPS, "the connection broke before the answer was complete", "The receiver may require a client certificate"),
        (HTTP, "the connection broke while the request was sent", "If the receiver expects https, write https://"),
        (HTTP, "the connection was closed without an answer", "If the receiver expects https, write https://"),
        (HTTP, "what came back is not HTTP/1.1", "If the receiver expects https, write https://"),
        (HTTPS, "answered 308, not a 2xx; ark does not follow redirects", "Use the URL that it redirects to"),
        (HTTPS, "answered 404, not a 2xx", "The receiver is reachable but must answer a POST with a 2xx"),
        (HTTPS, "answered 500, not a 2xx", "The receiver is reachable but must answer a POST with a 2xx"),
        (HTTPS, "this machine is out of network sockets (EACCES: …)", "Allow IPv4 and IPv6"),
        (HTTPS, "no connection can be opened: IPv6 is not available here", "Allow IPv4 and IPv6"),
        (HTTPS, "no connection: connection refused", "Check that the receiver is reachable from here"),
        (
            HTTPS,
            "no answer within 10 s",
            "Check that the receiver is reachable from here and answers a POST with a 2xx",
        ),
        (HTTPS, "", "Check that the receiver is reachable"),
    ],
)
def test_each_cause_has_a_hint_of_its_own(url: str, error: str, helps: str) -> None:
    assert advice.hint({}, url, error).startswith(helps)
    assert advice.hint({"HTTPS_PROXY": "http://proxy:3128"}, url, error).startswith(helps)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("error", ["the name cannot be resolved", "no connection within 10 s", "no connection: …"])
def test_a_proxy_that_is_not_used_is_told_of_where_there_is_no_way(name: str, error: str) -> None:
    said = f"{name} is set, but `ark` does not use proxies"
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

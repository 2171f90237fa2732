# ruff: noqa: RUF001 - characters that look alike are what is tested
"""Which URLs can be destinations, and how they are parsed."""

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from arkcli.errors import AddressRefused
from arkcli.signing import Concealed
from arkcli.store.store import NAME
from arkcli.url import Proxy, parse_proxy, parse_url, shown_proxy


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com",
        "https://hooks.example.com/",
        "https://hooks.example.com/signalark?key=a%20b&x=1",
        "https://hooks.example.com:8443/x",
        "https://hooks.example.com./x",
        "HTTPS://Hooks.Example.COM/x",
        "https://xn--bcher-kva.example/x",
        "https://bücher.example/x",
        "https://93.184.216.34/x",
        "https://[2606:4700:4700::1111]:443/x",
        "https://hooks.example.com/@user:x",
        "https://hooks.example.com/ü",
    ],
)
def test_an_https_url_may_be_a_destination(url: str) -> None:
    parse_url(url, allow_local=False)
    parse_url(url, allow_local=True)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/hook", "http://[::1]/", "http://receiver.internal/x"])
def test_an_http_url_may_be_a_destination_with_allow_local_alone(url: str) -> None:
    parse_url(url, allow_local=True)
    with pytest.raises(AddressRefused, match="is not https; --allow-local permits http"):
        parse_url(url, allow_local=False)


@pytest.mark.parametrize(
    ("url", "in_ascii"),
    [
        ("https://hooks.example.com/x?y=%20", "https://hooks.example.com/x?y=%20"),
        ("https://bücher.example/x", "https://xn--bcher-kva.example/x"),
        ("https://BÜCHER.Example./x", "https://xn--bcher-kva.example./x"),
        ("https://bücher.example:8443", "https://xn--bcher-kva.example:8443"),
        ("https://faß.example/", "https://xn--fa-hia.example/"),
        ("https://日本語。jp/", "https://xn--wgv71a119e.jp/"),
        ("https://пример.рф/хук?ключ=ё", None),
        ("https://نامه\N{ZERO WIDTH NON-JOINER}ای.example/", "https://xn--mgba3gch31f060k.example/"),
        ("https://hooks.example.com/ü/%C3%BC", "https://hooks.example.com/%C3%BC/%C3%BC"),
        ("https://[2606:4700::1111]:8443/ü", "https://[2606:4700::1111]:8443/%C3%BC"),
        ("https://１２７.０.０.１/", "https://127.0.0.1/"),
    ],
    ids=ascii,
)
def test_a_url_is_used_in_ascii(url: str, in_ascii: str | None) -> None:
    said = parse_url(url, allow_local=False).ascii
    assert said.isascii()
    assert in_ascii is None or said == in_ascii
    assert parse_url(said, allow_local=False).ascii == said


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://☃.example/", "is not an international domain name: Codepoint U+2603"),
        ("https://-ü.example/", "is not an international domain name"),
        ("https://a\N{ZERO WIDTH JOINER}b.example/", "is not an international domain name: Joiner U+200D"),
        ("https://ü..example/", "is not an international domain name"),
        (f"https://{'ü' * 64}.example/", "is not an international domain name"),
        ("https://my_ü.example/", "is not an international domain name"),
        ("https://１２７.０.０.１.５/", "ends in a number but is not an IP address"),
        ("https://1.2.3.4.5/", "ends in a number but is not an IP address"),
        ("https://256.1.1.1/", "ends in a number but is not an IP address"),
        ("https://hooks.example.08/", "ends in a number but is not an IP address"),
        ("https://hooks.example.0x1/", "ends in a number but is not an IP address"),
        ("https://127.0.0.1%2f.example.com/", "a host is letters, digits"),
        ("https://%31.example.com/", "a host is letters, digits"),
        ("https://[fe80::1%25eth0]/", "a host is letters, digits"),
        ("https://hooks,example.com/", "a host is letters, digits"),
        ("https://<hooks>.example.com/", "a host is letters, digits"),
        ("https://[2606:4700::1]foo:443/", "only :PORT may follow it"),
        ("https://[2606:4700::1]x/", "only :PORT may follow it"),
        ("https://[::127.0.0.1]%20www.google.com:443/", "only :PORT may follow it"),
        ("https://[v1.a]/", "a host is letters, digits"),
        ("https://a..example.com/", "1 to 63 characters between dots"),
        ("https://.example.com/", "1 to 63 characters between dots"),
        ("https://example.com../", "1 to 63 characters between dots"),
        (f"https://{'a' * 64}.example.com/", "1 to 63 characters between dots"),
        (f"https://{'a.' * 126}ab/", "at most 253 altogether"),
    ],
    ids=ascii,
)
def test_what_is_no_host_is_refused_in_words(url: str, said: str) -> None:
    with pytest.raises(AddressRefused, match=re.escape(said)):
        parse_url(url, allow_local=True)


@pytest.mark.parametrize(
    ("url", "host", "port", "addresses"),
    [
        ("https://hooks.example.com/x", "hooks.example.com", 443, ()),
        ("http://hooks.example.com./x", "hooks.example.com.", 80, ()),
        ("https://HOOKS.example.com:8443/x", "hooks.example.com", 8443, ()),
        ("https://bücher.example/", "xn--bcher-kva.example", 443, ()),
        ("https://127.0.0.1/", "127.0.0.1", 443, ("127.0.0.1",)),
        ("https://0x7f.1/", "0x7f.1", 443, ("127.0.0.1",)),
        ("https://127.1./", "127.1.", 443, ("127.0.0.1",)),
        ("https://[::1]:8443/", "::1", 8443, ("::1",)),
        ("https://localhost/", "localhost", 443, ("::1", "127.0.0.1")),
        ("https://a.localhost./", "a.localhost.", 443, ("::1", "127.0.0.1")),
    ],
)
def test_a_host_is_a_name_to_look_up_or_names_its_addresses(
    url: str, host: str, port: int, addresses: tuple[str, ...]
) -> None:
    found = parse_url(url, allow_local=True)
    assert (found.host, found.port, found.addresses) == (host, port, addresses)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a.example", "https://a.example/", True),
        ("https://a.example/x", "HTTPS://A.Example:443/x", True),
        ("https://a.example/x?", "https://a.example/x", True),
        ("https://a.example./x", "https://a.example/x", True),
        ("https://bücher.example/", "https://xn--bcher-kva.example/", True),
        ("http://a.example/", "http://a.example:80/", True),
        ("https://ΒΌΛΟΣ/", "https://xn--nxasmq6b/", True),
        ("https://[2606:4700:0:0::1]/", "https://[2606:4700::1]/", True),
        ("https://93.184.216.34/", "https://0x5db8d822/", True),
        ("https://a.example/%7ex?%61=%2f", "https://a.example/~x?a=%2F", True),
        ("https://a.example/ü", "https://a.example/%c3%bc", True),
        ("https://a.example/%2F", "https://a.example//", False),
        ("https://a.localhost/", "https://b.localhost/", False),
        ("http://a.example/", "https://a.example/", False),
        ("https://a.example/x", "https://a.example/X", False),
        ("https://a.example/x", "https://a.example/x/", False),
        ("https://a.example/?a", "https://a.example/?b", False),
        ("https://a.example/", "https://a.example:8443/", False),
    ],
)
def test_urls_that_lead_to_one_place_are_told_however_they_are_spelled(one: str, other: str, same: bool) -> None:
    places = {parse_url(url, allow_local=True).place for url in (one, other)}
    assert len(places) == (1 if same else 2)


NO_URL, NO_RECEIVER, USER = "is not a URL", "is not a URL that can receive webhooks", "user name or password"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", NO_RECEIVER),
        ("hooks.example.com", NO_RECEIVER),
        ("//hooks.example.com/x", NO_RECEIVER),
        ("https:hooks.example.com", NO_RECEIVER),
        ("https:///x", NO_RECEIVER),
        ("https://", NO_RECEIVER),
        ("https://:443/x", NO_RECEIVER),
        ("ftp://hooks.example.com/x", NO_RECEIVER),
        ("file:///etc/passwd", NO_RECEIVER),
        ("javascript:alert(1)", NO_RECEIVER),
        ("gopher://hooks.example.com", NO_RECEIVER),
        ("https://user@hooks.example.com/", USER),
        ("https://user:password@hooks.example.com/", USER),
        ("https://:password@hooks.example.com/", USER),
        ("https://@hooks.example.com/", USER),
        ("https://hooks.example.com\\@evil.example/", NO_URL),
        ("https://hooks.example.com/a\\b", NO_URL),
        ("https://hooks.example.com/a b", NO_URL),
        (" https://hooks.example.com/", NO_URL),
        ("https://hooks.example.com/\n", NO_URL),
        ("https://hooks.example.com/\r\nX-Injected: 1", NO_URL),
        ("https://hooks.example.com/\x00", NO_URL),
        ("https://hooks.example.com/\x1b[31m", NO_URL),
        ("https://hooks.example.com/\x7f", NO_URL),
        ("https://hooks.example.com/\x85", NO_URL),
        ("https://hooks.example.com/\x9b31m", NO_URL),
        ("https://hooks\N{NO-BREAK SPACE}example.com/", NO_URL),
        ("https://hooks.example.com/\N{LINE SEPARATOR}", NO_URL),
        ("https://hooks.example.com/\udcff", NO_URL),
        ("https://hooks.example.com:0/", NO_URL),
        ("https://hooks.example.com:65536/", NO_URL),
        ("https://hooks.example.com:-1/", NO_URL),
        ("https://hooks.example.com:port/", NO_URL),
        ("https://hooks.example.com:443:443/", NO_URL),
        ("https://[::1/", NO_URL),
        ("https://[hooks.example.com]/", NO_URL),
        ("https://hooks.example.com/x#part", "has a fragment"),
        ("https://\N{ACCOUNT OF}.example.com/", NO_URL),
    ],
    ids=ascii,
)
def test_what_is_no_url_of_a_receiver_is_refused_allow_local_or_not(url: str, said: str) -> None:
    for allow_local in (False, True):
        with pytest.raises(AddressRefused, match=said):
            parse_url(url, allow_local=allow_local)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:open-sesame@hooks.example.com/",
        "http://user:open-sesame@hooks.example.com/",
        "https://user:open-sesame@hooks.example.com/#part",
        "https://user:open-sesame@hooks.example.com:0/",
        "https://user:open-sesame@hooks.example.com:port/",
        "https://user:open-sesame@hooks.example.com/a b",
        "ftp://user:open-sesame@hooks.example.com/",
    ],
)
def test_a_refusal_does_not_show_the_password_in_a_url(url: str) -> None:
    with pytest.raises(AddressRefused) as raised:
        parse_url(url, allow_local=False)
    assert "open-sesame" not in str(raised.value)


hosts = st.text(min_size=1, max_size=80) | st.from_regex(r"[a-zA-Z0-9._\-\[\]:%*]{1,100}", fullmatch=True)


@settings(deadline=None)
@given(st.text() | hosts.map("https://{}/hook".format))
def test_any_text_is_a_url_or_is_refused(url: str) -> None:
    try:
        parse_url(url, allow_local=True)
    except AddressRefused as refused:
        assert str(refused)
        return
    assert url.lower().startswith(("http://", "https://"))


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://hooks.example.com/x", "hooks.example.com"),
        ("https://Hooks.Example.COM:8443/x", "hooks.example.com"),
        ("https://my_hooks-1.example.com/", "my_hooks-1.example.com"),
        ("http://127.0.0.1:8080/", "127.0.0.1"),
        ("https://[2606:4700::1111]/", "2606-4700-1111"),
        ("https://[::1]/", "1"),
        ("https://bücher.example/", "b-cher.example"),
        ("https://你好/", "destination"),
        ("https://_/", "destination"),
        ("https://" + "a" * 50 + "." + "b" * 50 + ".com/", "a" * 50 + "." + "b" * 13),
    ],
)
def test_a_name_is_made_from_the_host(url: str, name: str) -> None:
    assert parse_url(url, allow_local=True).default_name == name


@settings(deadline=None)
@given(hosts)
def test_a_name_made_from_a_url_is_always_one_that_the_store_takes(host: str) -> None:
    url = f"https://{host}/hook"
    try:
        parse_url(url, allow_local=True)
    except AddressRefused:
        assume(False)
    assert NAME.fullmatch(parse_url(url, allow_local=True).default_name)


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://proxy.example:3128", Proxy("http", "proxy.example", 3128, (), None)),
        ("HTTPS://Proxy.Example:3129/", Proxy("https", "proxy.example", 3129, (), None)),
        (
            "socks5h://me:p%40s%3A@10.0.0.5:80",
            Proxy("socks5h", "10.0.0.5", 80, ("10.0.0.5",), Concealed("me:p@s:")),
        ),
        ("socks5://[::1]:1080", Proxy("socks5", "::1", 1080, ("::1",), None)),
        ("http://bücher.example:80", Proxy("http", "xn--bcher-kva.example", 80, (), None)),
    ],
)
def test_a_proxy_is_a_scheme_a_host_a_port_and_perhaps_a_user(text: str, proxy: Proxy) -> None:
    assert parse_proxy(text) == proxy


@pytest.mark.parametrize(
    "text",
    [
        *("proxy.example:3128", "proxy.example", "http://proxy.example", "http://:3128", "ftp://proxy.example:21"),
        *("http://proxy.example:0", "http://proxy.example:99999", "http://proxy.example:3128/path", "http://a b:3128"),
        *("http://proxy.example:3128?x", "http://proxy.example:3128#x", "socks4://proxy.example:1080", "://", ""),
        *("http://me%3A:s3cr3t@proxy.example:1", "ftp://me:s3cr3t@proxy.example:1", "me:s3cr3t@proxy.example:1"),
    ],
)
def test_any_other_text_is_no_proxy_and_no_password_in_it_is_shown(text: str) -> None:
    with pytest.raises(AddressRefused, match="is not a proxy: write it as http://HOST:PORT") as raised:
        parse_proxy(text)
    assert "s3cr3t" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128"),
        ("socks5h://me:s3cr3t@proxy.example:1080", "socks5h://***@proxy.example:1080"),
        ("me:s3cr3t@proxy.example:1080", "***@proxy.example:1080"),
        *((text, text) for text in ("none", "env:OUR_PROXY", "file:/run/secrets/proxy")),
    ],
)
def test_a_proxy_setting_is_shown_without_its_password(text: str, shown: str) -> None:
    assert shown_proxy(text) == shown

"""Which addresses may be dialled and which URLs may be destinations: IANA's special-purpose registries as one table."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from arkcli.errors import AddressRefused
from arkcli.guard import check_url, default_name, refusal
from arkcli.store import NAME

Address = IPv4Address | IPv6Address

#: Refused always: first and last address, and the public neighbours outside.
NEVER = [
    ("this network", "0.0.0.0", "0.255.255.255", "1.0.0.0"),
    ("link-local, metadata", "169.254.0.0", "169.254.255.255", "169.253.255.255 169.255.0.0"),
    ("aws, gcp and azure metadata", "169.254.169.254", "169.254.169.254", ""),
    ("alibaba metadata", "100.100.100.200", "100.100.100.200", ""),
    ("azure's wire server", "168.63.129.16", "168.63.129.16", "168.63.129.15 168.63.129.17"),
    ("protocol assignments", "192.0.0.0", "192.0.0.255", "191.255.255.255 192.0.1.0"),
    ("documentation 1", "192.0.2.0", "192.0.2.255", "192.0.1.255 192.0.3.0"),
    ("6to4 relays", "192.88.99.0", "192.88.99.255", "192.88.98.255 192.88.100.0"),
    ("benchmarks", "198.18.0.0", "198.19.255.255", "198.17.255.255 198.20.0.0"),
    ("documentation 2", "198.51.100.0", "198.51.100.255", "198.51.99.255 198.51.101.0"),
    ("documentation 3", "203.0.113.0", "203.0.113.255", "203.0.112.255 203.0.114.0"),
    ("multicast", "224.0.0.0", "239.255.255.255", "223.255.255.255"),
    ("reserved", "240.0.0.0", "255.255.255.254", ""),
    ("broadcast", "255.255.255.255", "255.255.255.255", ""),
    ("unspecified", "::", "::", ""),
    ("local-use translation", "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", ""),
    ("discard", "100::", "100::ffff:ffff:ffff:ffff", ""),
    ("dummy", "100:0:0:1::", "100::1:ffff:ffff:ffff:ffff", ""),
    ("teredo", "2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("protocol assignments, v6", "2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::"),
    ("benchmarks, v6", "2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff", ""),
    ("orchid", "2001:10::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff", ""),
    ("orchid, v2", "2001:20::", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff", ""),
    (
        "documentation, v6",
        "2001:db8::",
        "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff 2001:db9::",
    ),
    (
        "documentation, v6, of 2024",
        "3fff::",
        "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
        "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff 3fff:1000::",
    ),
    ("segment routing", "5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""),
    ("below global unicast", "200::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2000::"),
    ("above global unicast", "4000::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""),
    ("aws metadata, v6", "fd00:ec2::254", "fd00:ec2::254", ""),
    ("gcp metadata, v6", "fd20:ce::254", "fd20:ce::254", ""),
    ("unassigned", "fe00::", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""),
    ("link-local, v6", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""),
    ("multicast, v6", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""),
]

#: Opened by --allow-local.
LOCAL = [
    ("private 10", "10.0.0.0", "10.255.255.255", "9.255.255.255 11.0.0.0"),
    ("shared", "100.64.0.0", "100.127.255.255", "100.63.255.255 100.128.0.0"),
    ("loopback", "127.0.0.0", "127.255.255.255", "126.255.255.255 128.0.0.0"),
    ("private 172", "172.16.0.0", "172.31.255.255", "172.15.255.255 172.32.0.0"),
    ("private 192", "192.168.0.0", "192.168.255.255", "192.167.255.255 192.169.0.0"),
    ("loopback, v6", "::1", "::1", ""),
    ("unique local", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""),
    ("site-local", "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""),
]

PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e", "2620:fe::fe"]

#: The ways in which an IPv6 address embeds an IPv4 address, and which is then dialled.
EMBEDDINGS: dict[str, Callable[[int], int]] = {
    "mapped": lambda v4: int(IPv6Address("::ffff:0:0")) | v4,
    "compatible": lambda v4: v4,
    "nat64": lambda v4: int(IPv6Address("64:ff9b::")) | v4,
    "6to4": lambda v4: int(IPv6Address("2002::")) | v4 << 80,
}

LOCAL_RANGES = {
    version: [
        (ip_address(first), ip_address(last)) for _, first, last, _ in LOCAL if ip_address(first).version == version
    ]
    for version in (4, 6)
}
EDGES_NEVER = [(what, address) for what, first, last, _ in NEVER for address in dict.fromkeys((first, last))]
EDGES_LOCAL = [(what, address) for what, first, last, _ in LOCAL for address in dict.fromkeys((first, last))]
NEIGHBOURS = [(what, address) for what, _, _, outside in NEVER + LOCAL for address in outside.split()]

v4_addresses = st.integers(0, 2**32 - 1) | st.sampled_from(
    [int(IPv4Address(address)) for _, address in EDGES_NEVER + EDGES_LOCAL + NEIGHBOURS if "." in address]
)


def embeds(address: Address) -> bool:
    prefixes = (0, 0xFFFF, int(IPv6Address("64:ff9b::")) >> 32)
    return isinstance(address, IPv6Address) and (address.sixtofour is not None or int(address) >> 32 in prefixes)


native_addresses = st.ip_addresses(v=4) | st.ip_addresses(v=6).filter(lambda address: not embeds(address))


def verdicts(address: str) -> tuple[bool, bool]:
    """Whether an address may be dialled without and with --allow-local."""
    return refusal(address, allow_local=False) is None, refusal(address, allow_local=True) is None


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_dialled(address: str) -> None:
    assert verdicts(address) == (True, True)


@pytest.mark.parametrize(("what", "address"), NEIGHBOURS)
def test_the_address_next_to_a_special_range_is_public(what: str, address: str) -> None:
    assert verdicts(address) == (True, True)


@pytest.mark.parametrize(("what", "address"), EDGES_NEVER)
def test_a_special_range_is_never_dialled_from_its_first_address_to_its_last(what: str, address: str) -> None:
    assert verdicts(address) == (False, False)


@pytest.mark.parametrize(("what", "address"), EDGES_LOCAL)
def test_a_local_range_is_dialled_with_allow_local_alone(what: str, address: str) -> None:
    assert verdicts(address) == (False, True)


@pytest.mark.parametrize(
    ("address", "allow_local", "said"),
    [
        ("127.0.0.1", False, "127.0.0.1 is a loopback address; --allow-local permits it for this destination"),
        ("10.1.2.3", False, "10.1.2.3 is a private address; --allow-local permits it for this destination"),
        ("100.64.0.1", False, "100.64.0.1 is in a carrier's shared range; --allow-local permits it"),
        ("169.254.169.254", True, "169.254.169.254 is link-local, where clouds serve their metadata; it is never"),
        ("::ffff:127.0.0.1", False, "::ffff:127.0.0.1 (127.0.0.1) is a loopback address; --allow-local permits it"),
        ("64:ff9b::a9fe:a9fe", True, "64:ff9b::a9fe:a9fe (169.254.169.254) is link-local"),
        ("2001:db8::1", True, "2001:db8::1 is for documentation; it is never dialled"),
    ],
)
def test_a_refusal_names_the_address_and_the_reason(address: str, allow_local: bool, said: str) -> None:
    assert (refusal(address, allow_local=allow_local) or "").startswith(said)


@pytest.mark.parametrize(
    ("address", "expected"),
    [("fe80::1%eth0", (False, False)), ("::1%lo", (False, True)), ("::ffff:10.0.0.1%1", (False, True))],
)
def test_a_zone_index_changes_nothing(address: str, expected: tuple[bool, bool]) -> None:
    assert verdicts(address) == expected


@pytest.mark.parametrize("way", EMBEDDINGS)
@settings(deadline=None)
@given(v4=v4_addresses)
def test_an_embedded_ipv4_address_gets_that_addresss_verdict(way: str, v4: int) -> None:
    embedded = EMBEDDINGS[way](v4)
    assume(embedded != int(IPv6Address("::1")))
    assert verdicts(str(IPv6Address(embedded))) == verdicts(str(IPv4Address(v4)))


@settings(deadline=None)
@given(hidden=st.integers(0, 2**96 - 1))
def test_an_address_that_hides_an_ipv4_address_is_never_dialled(hidden: int) -> None:
    assert verdicts(str(IPv6Address(int(IPv6Address("2001::")) | hidden))) == (False, False)


@settings(deadline=None)
@given(native_addresses)
def test_what_is_dialled_is_global_in_pythons_own_tables_too(address: Address) -> None:
    if verdicts(str(address)) == (True, True):
        assert address.is_global
        assert not address.is_multicast


@settings(deadline=None)
@given(native_addresses)
@example(IPv4Address("169.254.169.254"))
@example(IPv6Address("fd00:ec2::254"))
def test_allow_local_opens_loopback_private_and_shared_addresses_and_nothing_else(address: Address) -> None:
    strict, local = verdicts(str(address))
    inside = any(int(first) <= int(address) <= int(last) for first, last in LOCAL_RANGES[address.version])
    assert local or not strict
    assert not strict or not inside
    assert not local or strict or inside


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.1", "2130706433", "0x7f.0.0.1", "127.0.0.01", "1.2.3.4:80", "%"]
)
def test_what_is_no_literal_address_is_not_dialled(text: str) -> None:
    assert verdicts(text) == (False, False)
    assert refusal(text, allow_local=True) == f"{text} is not an IP address"


@settings(deadline=None)
@given(st.text())
def test_any_text_gets_a_verdict_and_never_an_exception(text: str) -> None:
    assert verdicts(text) in {(False, False), (False, True), (True, True)}


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
    check_url(url, allow_local=False)
    check_url(url, allow_local=True)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/hook", "http://[::1]/", "http://receiver.internal/x"])
def test_an_http_url_may_be_a_destination_with_allow_local_alone(url: str) -> None:
    check_url(url, allow_local=True)
    with pytest.raises(AddressRefused, match="is not https; --allow-local permits http"):
        check_url(url, allow_local=False)


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
            check_url(url, allow_local=allow_local)


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
        check_url(url, allow_local=False)
    assert "open-sesame" not in str(raised.value)


hosts = st.text(min_size=1, max_size=80) | st.from_regex(r"[a-zA-Z0-9._\-\[\]:%*]{1,100}", fullmatch=True)


@settings(deadline=None)
@given(st.text() | hosts.map("https://{}/hook".format))
def test_any_text_is_a_url_or_is_refused(url: str) -> None:
    try:
        check_url(url, allow_local=True)
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
        ("https://./", "destination"),
        ("https://" + "a" * 100 + ".example.com/", "a" * 64),
    ],
)
def test_a_name_is_made_from_the_host(url: str, name: str) -> None:
    assert default_name(url) == name


@settings(deadline=None)
@given(hosts)
def test_a_name_made_from_a_url_is_always_one_that_the_store_takes(host: str) -> None:
    url = f"https://{host}/hook"
    try:
        check_url(url, allow_local=True)
    except AddressRefused:
        assume(False)
    assert NAME.fullmatch(default_name(url))

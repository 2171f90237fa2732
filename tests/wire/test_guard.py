"""Which addresses ark connects to, and which URLs may be destinations: IANA's special-purpose registries, tested."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from arkcli.wire.guard import refusal, refusal_behind_proxy

Address = IPv4Address | IPv6Address

#: Always refused: the first and last address, and the public neighbours outside.
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
    ("as112", "192.31.196.0", "192.31.196.255", "192.31.195.255 192.31.197.0"),
    ("multicast relays", "192.52.193.0", "192.52.193.255", "192.52.192.255 192.52.194.0"),
    ("as112, delegated", "192.175.48.0", "192.175.48.255", "192.175.47.255 192.175.49.0"),
    (
        "as112, v6",
        "2620:4f:8000::",
        "2620:4f:8000:ffff:ffff:ffff:ffff:ffff",
        "2620:4f:7fff:ffff:ffff:ffff:ffff:ffff 2620:4f:8001::",
    ),
    ("aws's services, v6", "fd00:ec2::", "fd00:ec2:ffff:ffff:ffff:ffff:ffff:ffff", ""),
    ("oracle metadata, v6", "fd00:c1::a9fe:a9fe", "fd00:c1::a9fe:a9fe", ""),
    ("scaleway metadata, v6", "fd00:42::42", "fd00:42::42", ""),
    ("gcp metadata, v6", "fd20:ce::254", "fd20:ce::254", ""),
    ("unassigned", "fe00::", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""),
    ("link-local, v6", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""),
    ("multicast, v6", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""),
]

#: Allowed with --allow-local.
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

#: Every row of IANA's special-purpose address registries (RFC 6890), and whether --allow-local allows it.
#: None: it embeds an IPv4 address, which decides.
IANA = [
    ("0.0.0.0/8", False),
    ("0.0.0.0/32", False),
    ("10.0.0.0/8", True),
    ("100.64.0.0/10", True),
    ("127.0.0.0/8", True),
    ("169.254.0.0/16", False),
    ("172.16.0.0/12", True),
    ("192.0.0.0/24", False),
    ("192.0.0.0/29", False),
    ("192.0.0.8/32", False),
    ("192.0.0.9/32", False),
    ("192.0.0.10/32", False),
    ("192.0.0.170/32", False),
    ("192.0.0.171/32", False),
    ("192.0.2.0/24", False),
    ("192.31.196.0/24", False),
    ("192.52.193.0/24", False),
    ("192.88.99.0/24", False),
    ("192.88.99.2/32", False),
    ("192.168.0.0/16", True),
    ("192.175.48.0/24", False),
    ("198.18.0.0/15", False),
    ("198.51.100.0/24", False),
    ("203.0.113.0/24", False),
    ("240.0.0.0/4", False),
    ("255.255.255.255/32", False),
    ("::1/128", True),
    ("::/128", False),
    ("::ffff:0:0/96", None),
    ("64:ff9b::/96", None),
    ("64:ff9b:1::/48", False),
    ("100::/64", False),
    ("100:0:0:1::/64", False),
    ("2001::/23", False),
    ("2001::/32", False),
    ("2001:1::1/128", False),
    ("2001:1::2/128", False),
    ("2001:1::3/128", False),
    ("2001:2::/48", False),
    ("2001:3::/32", False),
    ("2001:4:112::/48", False),
    ("2001:10::/28", False),
    ("2001:20::/28", False),
    ("2001:30::/28", False),
    ("2001:db8::/32", False),
    ("2002::/16", None),
    ("2620:4f:8000::/48", False),
    ("3fff::/20", False),
    ("5f00::/16", False),
    ("fc00::/7", True),
    ("fe80::/10", False),
]

PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e", "2620:fe::fe"]

#: IPv6 addresses that embed an IPv4 address, and the address that a connection reaches.
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
    """Whether ark may connect to an address without and with --allow-local."""
    return refusal(address, allow_local=False) is None, refusal(address, allow_local=True) is None


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_connected_to(address: str) -> None:
    assert verdicts(address) == (True, True)


@pytest.mark.parametrize(("what", "address"), NEIGHBOURS)
def test_the_address_next_to_a_special_range_is_public(what: str, address: str) -> None:
    assert verdicts(address) == (True, True)


@pytest.mark.parametrize(("what", "address"), EDGES_NEVER)
def test_a_special_range_is_never_connected_to_from_its_first_address_to_its_last(what: str, address: str) -> None:
    assert verdicts(address) == (False, False)


@pytest.mark.parametrize(("what", "address"), EDGES_LOCAL)
def test_a_local_range_is_connected_to_with_allow_local_alone(what: str, address: str) -> None:
    assert verdicts(address) == (False, True)


@pytest.mark.parametrize(("network", "opened"), [row for row in IANA if row[1] is not None])
@settings(max_examples=10)
@given(st.data())
def test_no_row_of_ianas_registries_is_connected_to_and_the_local_ones_with_allow_local_alone(
    network: str, opened: bool, data: st.DataObject
) -> None:
    address = data.draw(st.ip_addresses(network=network))
    inside = (ip_network(what) for what in ("100.100.100.200/32", "fd00:ec2::/32"))
    metadata = any(address.version == network.version and address in network for network in inside)
    assert verdicts(str(address)) == (False, opened and not metadata)


@pytest.mark.parametrize("network", [network for network, opened in IANA if opened is None])
def test_a_row_that_embeds_an_ipv4_address_hides_none_of_the_others(network: str) -> None:
    at = int(ip_network(network).network_address)
    shift = 80 if network.startswith("2002") else 0
    for row, opened in IANA:
        if "." in row:
            embedded = IPv6Address(at | int(ip_network(row).network_address) << shift)
            assert verdicts(str(embedded)) == (False, opened), row
    assert verdicts(str(IPv6Address(at | int(IPv4Address("93.184.216.34")) << shift))) == (True, True)


@pytest.mark.parametrize("identifier", ["0:5efe", "200:5efe"])
@settings(max_examples=50)
@example(v4=int(IPv4Address("168.63.129.16")))
@example(v4=int(IPv4Address("168.63.129.17")))
@given(v4=v4_addresses)
def test_an_isatap_address_is_judged_as_both_of_its_addresses(identifier: str, v4: int) -> None:
    assert verdicts(f"2a00:1450::{identifier}:{IPv4Address(v4)}") == verdicts(str(IPv4Address(v4)))
    assert verdicts(f"fe80::{identifier}:{IPv4Address(v4)}") == (False, False)
    assert verdicts(f"2001:db8::{identifier}:{IPv4Address(v4)}") == (False, False)


@pytest.mark.parametrize("identifier", ["0:5eff", "0:5efc", "0:5e", "1:5efe", "100:5efe", "400:5efe", "8000:5efe"])
def test_an_identifier_that_is_not_isataps_hides_no_ipv4_address(identifier: str) -> None:
    assert verdicts(f"2a00:1450::{identifier}:127.0.0.1") == (True, True)


@pytest.mark.parametrize(
    ("server", "client"), [("127.0.0.1", "8.8.8.8"), ("8.8.8.8", "127.0.0.1"), ("65.54.227.120", "8.8.8.8")]
)
def test_a_teredo_address_is_never_connected_to_whatever_server_and_client_it_hides(server: str, client: str) -> None:
    obfuscated = int(IPv4Address(client)) ^ 0xFFFFFFFF
    address = IPv6Address(int(IPv6Address("2001::")) | int(IPv4Address(server)) << 64 | obfuscated)
    assert address.teredo == (IPv4Address(server), IPv4Address(client))
    assert verdicts(str(address)) == (False, False)


@pytest.mark.parametrize(
    ("address", "allow_local", "said"),
    [
        ("127.0.0.1", False, "127.0.0.1 is a loopback address; --allow-local permits it for this destination"),
        ("10.1.2.3", False, "10.1.2.3 is a private address; --allow-local permits it for this destination"),
        ("100.64.0.1", False, "100.64.0.1 is in a carrier's shared range; --allow-local permits it"),
        (
            "169.254.169.254",
            True,
            "169.254.169.254 is link-local, where clouds serve their metadata; ark never connects",
        ),
        ("::ffff:127.0.0.1", False, "::ffff:127.0.0.1 (127.0.0.1) is a loopback address; --allow-local permits it"),
        ("64:ff9b::a9fe:a9fe", True, "64:ff9b::a9fe:a9fe (169.254.169.254) is link-local"),
        ("::", True, ":: is unspecified; ark never connects to it"),
        ("::2", True, "::2 (0.0.0.2) is unspecified; ark never connects to it"),
        ("2001:db8::1", True, "2001:db8::1 is for documentation; ark never connects to it"),
    ],
)
def test_a_refusal_names_the_address_and_the_reason(address: str, allow_local: bool, said: str) -> None:
    assert (refusal(address, allow_local=allow_local) or "").startswith(said)


def test_an_address_is_judged_once_however_often_it_is_connected_to() -> None:
    first = refusal("192.0.2.7", allow_local=False)
    assert first is not None
    assert refusal("192.0.2.7", allow_local=False) is first


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
def test_an_address_that_hides_an_ipv4_address_is_never_connected_to(hidden: int) -> None:
    assert verdicts(str(IPv6Address(int(IPv6Address("2001::")) | hidden))) == (False, False)


@settings(deadline=None)
@given(native_addresses)
def test_what_is_connected_to_is_global_in_pythons_own_tables_too(address: Address) -> None:
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
def test_what_is_no_literal_address_is_not_connected_to(text: str) -> None:
    assert verdicts(text) == (False, False)
    assert refusal(text, allow_local=True) == f"{text} is not an IP address"


@settings(deadline=None)
@given(st.text())
def test_any_text_gets_a_verdict_and_never_an_exception(text: str) -> None:
    assert verdicts(text) in {(False, False), (False, True), (True, True)}


@pytest.mark.parametrize(
    ("host", "addresses", "local"),
    [
        ("hooks.example.com", (), None),
        ("93.184.216.34", ("93.184.216.34",), None),
        ("internal.example.com", (), None),
        *((name, (), True) for name in ("intranet", "files.local", "app.internal", "nas.home.arpa", "a.local.")),
        ("localhost", ("::1", "127.0.0.1"), True),
        ("10.0.0.5", ("10.0.0.5",), True),
        *((name, (), False) for name in ("metadata.google.internal", "metadata", "metadata.goog.")),
        ("169.254.169.254", ("169.254.169.254",), False),
    ],
)
def test_what_a_proxy_is_asked_for_is_judged_as_far_as_the_url_tells(
    host: str, addresses: tuple[str, ...], local: bool | None
) -> None:
    """`local`: permitted with --allow-local; None: always permitted."""
    without, with_it = (refusal_behind_proxy(host, addresses, allow_local=allow) for allow in (False, True))
    assert (without is None) == (local is None)
    assert (with_it is None) == (local is not False)
    if without is not None:
        assert without.endswith(
            "--allow-local permits it for this destination" if local else "ark never connects to it"
        )

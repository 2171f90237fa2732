"""Which addresses ark may connect to. Pure: it neither resolves names nor connects.

The ranges are all rows of IANA's special-purpose registries for IPv4 and IPv6 (RFC 6890 and its successors), and the
addresses where clouds serve their machines' credentials.
"""

import ipaddress
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Refused even with `--allow-local`: where clouds serve their machines' credentials, and what is not unicast.
_NEVER: Final = (
    ("link-local, where clouds serve their metadata", ("169.254.0.0/16", "fe80::/10")),
    # Amazon, Google, Oracle, Scaleway; Alibaba, Azure. Other clouds, and the first four over IPv4, use link-local.
    ("a cloud's metadata service", ("fd00:ec2::/32", "fd20:ce::254/128", "fd00:c1::a9fe:a9fe/128", "fd00:42::42/128")),
    ("a cloud's metadata service", ("100.100.100.200/32", "168.63.129.16/32")),
    ("multicast", ("224.0.0.0/4", "ff00::/8")),
    ("unspecified", ("0.0.0.0/8", "::/128")),
    ("the broadcast address", ("255.255.255.255/32",)),
    ("reserved", ("240.0.0.0/4",)),
)
#: Allowed with `--allow-local`.
_LOCAL: Final = (
    ("a loopback address", ("127.0.0.0/8", "::1/128")),
    ("a private address", ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10")),
    ("in a carrier's shared range", ("100.64.0.0/10",)),
)
#: Refused even with `--allow-local`: never a public receiver, and not local either.
_SPECIAL: Final = (
    ("a tunnel to a hidden IPv4 address", ("2001::/32", "64:ff9b:1::/48")),
    ("for protocol assignments", ("192.0.0.0/24", "2001::/23")),
    ("for documentation", ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20")),
    ("for benchmarks", ("198.18.0.0/15", "2001:2::/48")),
    ("a deprecated relay range", ("192.88.99.0/24",)),
    # AS112: any network may run such a server (RFC 7534).
    ("a sink for stray name look-ups", ("192.31.196.0/24", "192.175.48.0/24", "2620:4f:8000::/48")),
    ("for multicast relays", ("192.52.193.0/24",)),
    ("a discard range", ("100::/64",)),
    ("for segment routing", ("5f00::/16",)),
)

#: Refused as the host of a destination behind a proxy that looks up names: what they mean in the proxy's network.
_METADATA_NAMES: Final = ("metadata", "metadata.google.internal", "metadata.goog", "instance-data.ec2.internal")
#: Domains that every network defines for itself (RFC 6762, RFC 8375, ICANN's resolution on .internal, and customs).
_LOCAL_DOMAINS: Final = (".local", ".internal", ".home.arpa", ".localdomain", ".lan", ".intranet")

#: The first range that has an address decides: what it is, and whether it is local.
_ranges: Final = tuple(
    (what, ipaddress.ip_network(text), rows is _LOCAL)
    for rows in (_NEVER, _LOCAL, _SPECIAL)
    for what, texts in rows
    for text in texts
)
_global_unicast: Final = ipaddress.ip_network("2000::/3")
_nat64: Final = ipaddress.ip_network("64:ff9b::/96")
_compatible: Final = ipaddress.ip_network("::/96")


@lru_cache(maxsize=1024)
def refusal(address: str, *, allow_local: bool) -> str | None:
    """Why ark may not connect to this address, in words; None if it may.

    `address` is a literal IPv4 or IPv6 address as a resolver returns it, with or without a zone index. An IPv6 address
    that embeds an IPv4 address (mapped, compatible, NAT64, 6to4) is judged as that IPv4 address; ISATAP as both.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return f"{address} is not an IP address"
    for judged in _concerned(parsed):
        what, remedy = _verdict(judged, allow_local=allow_local)
        if what is not None:
            shown = address if judged == parsed else f"{address} ({judged})"
            return f"{shown} is {what}; {remedy}"
    return None


def refusal_behind_proxy(host: str, addresses: Sequence[str], *, allow_local: bool) -> str | None:
    """Why ark may not ask a proxy to connect to a host; None if it may, as far as can be told without a look-up.

    `addresses` are those that the host itself names.
    """
    for address in addresses:
        if (said := refusal(address, allow_local=allow_local)) is not None:
            return said
    name = host.removesuffix(".")
    if name in _METADATA_NAMES:
        return f"{host} is a cloud's metadata service; ark never connects to it"
    is_local = not addresses and ("." not in name or name.endswith(_LOCAL_DOMAINS))
    if is_local and not allow_local:
        return f"{host} is a name in a private network; --allow-local permits it for this destination"
    return None


def _concerned(address: Address) -> Iterator[Address]:
    """The addresses that a packet to this one may reach."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
    elif address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    elif address.sixtofour is not None:
        yield address.sixtofour
    elif address in _nat64 or (address in _compatible and int(address) > 1):
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    else:
        yield address
        # ISATAP (RFC 5214, 6.1): its interface identifier, with or without the "universal" bit.
        if int(address) >> 32 & 0xFDFFFFFF == 0x00005EFE:
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _verdict(judged: Address, *, allow_local: bool) -> tuple[str | None, str]:
    never = "ark never connects to it"
    for what, network, is_local in _ranges:
        if judged in network:
            if is_local:
                return (None if allow_local else what), "--allow-local permits it for this destination"
            return what, never
    if isinstance(judged, ipaddress.IPv6Address) and judged not in _global_unicast:
        return "not global unicast", never
    return None, ""

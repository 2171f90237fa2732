# ruff: noqa: RUF001 - characters that look alike are what is tested
"""Every way to write a forbidden address, tried on `ark` and on other HTTP clients."""

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arkcli.errors import AddressRefused
from arkcli.model import Answer, Delivery, Outcome
from arkcli.system.clock import SystemClock
from arkcli.url import parse_url
from arkcli.wire.sockets import Sockets
from arkcli.wire.transfer import Transfer
from arkcli.wire.wire import Wire
from tests.hostile.servers import Hostile, answers, hostile
from tests.wire.test_wire import EVENT, endpoint, post

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#: P is replaced by the port. Some of these reach loopback in one client, some in another, and some in none.
SPELLINGS = [
    "127.0.0.1:P",
    "127.0.0.1.:P",
    "127.1:P",
    "127.0.1:P",
    "127.255.255.254:P",
    "2130706433:P",
    "0177.0.0.1:P",
    "0177.0.1:P",
    "00000177.1:P",
    "017700000001:P",
    "0x7f.1:P",
    "0X7F.0X0.0X0.0X1:P",
    "0x7f000001:P",
    "0x7f.0.1:P",
    "127.0x0.0.01:P",
    "0:P",
    "0.0.0.0:P",
    "00.0:P",
    "0x0:P",
    "localhost:P",
    "LOCALHOST:P",
    "localhost.:P",
    "foo.localhost:P",
    "localhost.localdomain:P",
    "１２７.０.０.１:P",
    "①②⑦.⓪.⓪.①:P",
    "𝟏𝟐𝟕.𝟎.𝟎.𝟏:P",
    "127。0。0。1:P",
    "127．0．0．1:P",
    "１２７。１:P",
    "０x７f.１:P",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:P",
    "localho\N{LATIN SMALL LETTER LONG S}t:P",
    "loc\N{SOFT HYPHEN}alhost:P",
    "127\N{ZERO WIDTH SPACE}.0.0.1:P",
    "127.0.0.1%20:P",
    "127.0.0.1%00.example:P",
    "127.0.0.1%2f.example:P",
    "%31%32%37.0.0.1:P",
    "127.0.0.1%2e:P",
    "good@127.0.0.1:P",
    "good.example@127.0.0.1:P",
    "good.example:443@127.0.0.1:P",
    "good.example#@127.0.0.1:P",
    "127.0.0.1:P#@good.example",
    "127.0.0.1:P?@good.example",
    "127.0.0.1:P\\@good.example",
    "good.example\\@127.0.0.1:P",
    "127.0.0.1:P\\.good.example",
    "\t127.0.0.1:P",
    "127.0.\t0.1:P",
    "127.0.0.1\n:P",
    "127.0.0.1\r\n:P",
    " 127.0.0.1:P",
    "127.0.0.1 :P",
    "127.0.0.1:0P",
    "127.0.0.1:P/../..//x",
    "/127.0.0.1:P",
    "\\127.0.0.1:P",
    "[::1]:P",
    "[0:0:0:0:0:0:0:1]:P",
    "[::0001]:P",
    "[::1%25lo]:P",
    "[::1%lo]:P",
    "[::]:P",
    "[::127.0.0.1]:P",
    "[::ffff:127.0.0.1]:P",
    "[::ffff:7f00:1]:P",
    "[0:0:0:0:0:ffff:127.0.0.1]:P",
    "[::ffff:0:127.0.0.1]:P",
    "[::ffff:0.0.0.0]:P",
    "[64:ff9b::127.0.0.1]:P",
    "[64:ff9b:1::127.0.0.1]:P",
    "[2002:7f00:1::]:P",
    "[2001:0:7f00:1::]:P",
    "[fe80::1%25eth0]:P",
    "[fe80::5efe:127.0.0.1]:P",
    "[２:：１]:P",
    "[127.0.0.1]:P",
    "[localhost]:P",
]


@pytest.fixture(scope="module")
def listeners() -> Iterator[tuple[Hostile, Hostile]]:
    """Listeners on 127.0.0.1 and on ::1 with the same port."""
    with hostile(answers(GOOD)) as four, hostile(answers(GOOD), "::1", four.port) as six:
        yield four, six


def _visits(listeners: tuple[Hostile, Hostile]) -> int:
    return sum(server.connections for server in listeners)


def _refused(urls: list[str], listeners: tuple[Hostile, Hostile]) -> list[Answer]:
    """The wire's answer to each URL, without the command line's checks; no request may have arrived."""
    before = _visits(listeners)
    found = post(*(endpoint(url, allow_local=False) for url in urls))
    assert _visits(listeners) == before
    return found


@pytest.mark.parametrize("spelling", SPELLINGS, ids=ascii)
def test_no_spelling_of_a_forbidden_address_is_dialled(spelling: str, listeners: tuple[Hostile, Hostile]) -> None:
    host = spelling.replace("P", str(listeners[0].port))
    for url in (f"https://{host}/", f"http://{host}/"):
        (found,) = _refused([url], listeners)
        assert found.outcome is Outcome.FAILED
        assert found.error


def _urllib(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, b"{}", timeout=2):
        return True


def _http_client(url: str) -> bool:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=2)
    connection.request("POST", "/", b"{}")
    connection.getresponse().read()
    connection.close()
    return True


def _each(client: Callable[[str], bool]) -> Callable[[list[str]], set[str]]:
    def tried(url: str) -> bool:
        try:
            return client(url)
        except (OSError, ValueError, HTTPException):
            return False

    def reached(urls: list[str]) -> set[str]:
        with ThreadPoolExecutor(len(urls)) as pool:
            return {url for url, arrived in zip(urls, pool.map(tried, urls), strict=True) if arrived}

    return reached


def _curl(urls: list[str]) -> set[str]:
    command = ["curl", "-q", "--silent", "--noproxy", "*", "--globoff", "--max-time", "2", "--parallel"]
    for url in urls:
        command += ["--output", "/dev/null", "--write-out", "%{http_code} %{url}\\n", url]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return {url for line in said for status, _, url in [line.partition(" ")] if status == "200"}


def _node(urls: list[str]) -> set[str]:
    script = """
        const urls = JSON.parse(process.argv[1]), reached = []
        await Promise.all(urls.map(async url => {
          try {
            const answer = await fetch(url, { method: 'POST', body: '{}', signal: AbortSignal.timeout(2000) })
            if (answer.status === 200) reached.push(url)
          } catch {}
        }))
        console.log(JSON.stringify(reached))
    """
    command = ["node", "--input-type=module", "--eval", script, json.dumps(urls)]
    return set(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


CLIENTS: dict[str, Callable[[list[str]], set[str]]] = {
    "urllib": _each(_urllib),
    "http.client": _each(_http_client),
    "curl": _curl,
    "node": _node,
}


@pytest.mark.parametrize("client", CLIENTS)
def test_what_leads_another_client_to_loopback_does_not_lead_ark_there(
    client: str, listeners: tuple[Hostile, Hostile]
) -> None:
    if client in ("curl", "node") and shutil.which(client) is None:
        pytest.skip(f"{client} is not here")
    urls = [f"http://{spelling.replace('P', str(listeners[0].port))}/" for spelling in SPELLINGS]
    urls = [url for url in urls if url.isprintable() or client.startswith(("urllib", "http"))]
    reached = CLIENTS[client](urls)
    assert len(reached) >= 5
    for found in _refused([url.replace("http:", "https:", 1) for url in sorted(reached)], listeners):
        assert found.outcome is Outcome.FAILED
        assert found.error


#: Addresses of this machine, its local network and its cloud provider.
FORBIDDEN = st.one_of(
    *(
        st.integers(int(IPv4Address(first)), int(IPv4Address(last)))
        for first, last in (
            ("127.0.0.0", "127.255.255.255"),
            ("10.0.0.0", "10.255.255.255"),
            ("172.16.0.0", "172.31.255.255"),
            ("192.168.0.0", "192.168.255.255"),
            ("169.254.0.0", "169.254.255.255"),
            ("100.64.0.0", "100.127.255.255"),
            ("0.0.0.0", "0.255.255.255"),
        )
    )
)
DIGITS = ["0123456789", "０１２３４５６７８９", "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗", "𝟘𝟙𝟚𝟛𝟜𝟝𝟞𝟟𝟠𝟡"]
WRAPPERS = ["::ffff:{}", "::{}", "64:ff9b::{}", "64:ff9b:1::{}", "2a00:1450::5efe:{}", "fe80::5efe:{}"]


@st.composite
def spelled(draw: st.DrawFn) -> str:
    """A spelling of a forbidden address: its parts in any base, joined, in digits of any script, embedded."""
    address = draw(FORBIDDEN)
    if draw(st.booleans()):
        return f"[{draw(st.sampled_from(WRAPPERS)).format(IPv4Address(address))}]"
    count = draw(st.integers(1, 4))
    parts = [address >> shift & 0xFF for shift in (24, 16, 8)][: count - 1]
    parts.append(address & (1 << 8 * (5 - count)) - 1)
    written = [draw(st.sampled_from(("{}", "{:#x}", "{:#X}", "0{:o}", "00{:o}"))).format(part) for part in parts]
    host = draw(st.sampled_from((".", "。", "．", "｡"))).join(written) + draw(st.sampled_from(("", ".")))
    return host.translate(str.maketrans(DIGITS[0], draw(st.sampled_from(DIGITS))))


@settings(max_examples=200)
@given(spelled(), st.integers(1, 65535))
def test_however_a_forbidden_address_is_spelled_no_socket_is_opened_for_it(host: str, port: int) -> None:
    (found,) = post(endpoint(f"https://{host}:{port}/", allow_local=False))
    assert found.outcome is Outcome.FAILED
    assert "ark never connects to it" in str(found.error) or "--allow-local permits it" in str(found.error), found


@settings(max_examples=200)
@given(st.ip_addresses(v=6), st.sampled_from(("[{}]", "[{}%25eth0]", "[{}%eth0]")))
def test_a_zone_never_gets_an_ipv6_address_through(address: IPv6Address, form: str) -> None:
    url = f"https://{form.format(address)}/"
    if "%" in url:
        with pytest.raises(AddressRefused):
            parse_url(url, allow_local=True)
    else:
        assert parse_url(url, allow_local=True).ascii == url


@pytest.mark.parametrize(
    "host",
    [
        *("169.254.169.254", "0xa9fea9fe", "2852039166", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]"),
        *("[fd00:ec2::254]", "[fd00:ec2::23]", "[fd20:ce::254]", "[fd00:c1::a9fe:a9fe]", "[fd00:42::42]"),
        *("100.100.100.200", "168.63.129.16", "[fe80::a9fe:a9fe]", "0.0.0.0", "255.255.255.255"),
    ],
)
def test_allow_local_never_opens_a_clouds_metadata(host: str) -> None:
    (found,) = post(endpoint(f"http://{host}/", allow_local=True))
    assert "ark never connects to it" in str(found.error)


def test_allow_local_opens_loopback_for_one_destination_alone(listeners: tuple[Hostile, Hostile]) -> None:
    url = f"http://127.0.0.1:{listeners[0].port}/"
    opened, other = post(endpoint(url, allow_local=True), endpoint(url.replace("http", "https"), allow_local=False))
    assert opened.outcome is Outcome.DELIVERED
    assert "loopback" in str(other.error)


def test_of_several_addresses_each_is_judged_when_it_is_dialled(listeners: tuple[Hostile, Hostile]) -> None:
    """Here the test sets the resolver's answer; test_names.py uses a real resolver if it can."""
    port = listeners[0].port
    target = endpoint(f"https://mixed.example:{port}/", allow_local=False)
    wire: Wire[int] = Wire("", SystemClock())
    transfer = Transfer(target.destination, "", target.alias, Sockets())
    transfer.found(("127.0.0.1", "::1", "10.0.0.1", "169.254.169.254"))
    transfer.name = None
    target.idle.append(transfer)
    before = _visits(listeners)
    wire.start(target, [(Delivery(EVENT, 1), 1)])
    done: list[tuple[int, Answer]] = []
    while not done:
        done = wire.wait(0.5)
    wire.close()
    assert "ark never connects to it" in str(done[0][1].error) or "--allow-local permits it" in str(done[0][1].error)
    assert _visits(listeners) == before

"""A separate network with a name server: `unshare -r -n -m python -m tests.hostile.network DIRECTORY`.

`ark` runs in it unchanged, with the system's resolver. "Public" addresses are addresses of the loopback device. Prints
what each command printed, and which address was reached for which host.
"""

import contextlib
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import trustme

from arkcli.model import Answer, Delivery
from arkcli.wire.wire import Wire
from tests.wire.test_wire import EVENT, endpoint
from tests.world import PAYLOAD, FakeClock, World, answer, read_request

PUBLIC, PUBLIC_6 = "93.184.216.34", "2606:2800:220:1::1"
#: The address of names that have moved.
ELSEWHERE = "93.184.216.35"
PRIVATE, METADATA = "10.0.0.5", "169.254.169.254"
#: Nothing listens here, and nothing rejects connections, since no device has this address.
UNREACHABLE = "93.184.216.99"
NAMES = {
    "public.example": [PUBLIC],
    "public6.example": [PUBLIC_6],
    "xn--bcher-kva.example": [PUBLIC],
    "loopback.example": ["127.0.0.1"],
    "loopback6.example": ["::1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "nat64.example": ["64:ff9b::7f00:1"],
    "private.example": [PRIVATE],
    "metadata.google.internal": [METADATA],
    "loopback-first.example": ["127.0.0.1", PUBLIC],
    "loopback-last.example": [UNREACHABLE, "127.0.0.1"],
    "all-local.example": ["127.0.0.1", PRIVATE, "::1", METADATA],
    # Resolves to loopback from the second query on.
    "rebinding.example": [PUBLIC],
}
#: Names whose address changes while they are in use.
MOVING = ["moved.example", "down.example", "back.example"]
#: Names without an answer: more than the 20 look-ups that libcurl makes at once.
SILENT = [f"silent{number}.example" for number in range(30)]
#: Destinations with --allow-local.
LOCAL = ("private.example", "metadata.google.internal", "loopback.example")
MANY = 50

asked: Counter[str] = Counter()
reached: list[tuple[str, str, float]] = []
#: Whether requests are answered.
answering = threading.Event()
answering.set()


def main(directory: Path) -> None:
    _set_up(directory)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*NAMES, *MOVING).configure_cert(context)
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        listener = socket.socket(family)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, 443))
        listener.listen(128)
        threading.Thread(target=_serve, args=(listener, context), daemon=True).start()
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    threading.Thread(target=_answer_names, args=(server,), daemon=True).start()
    print(json.dumps(_try(directory)))


def _try(directory: Path) -> dict[str, Any]:
    world = World(directory / "home")
    hosts = {name: name for name in (*NAMES, *SILENT, "no-such-name.example")}
    hosts["xn--bcher-kva.example"] = "Bücher.example"
    for name, host in hosts.items():
        _add(world, directory, host, name)
    for name in LOCAL:
        _add(world, directory, name, f"local.{name}", "--allow-local")
    said: dict[str, Any] = {"first": _ping(world, *NAMES, *(f"local.{name}" for name in LOCAL), "no-such-name.example")}
    said["asked"] = dict(asked)
    NAMES["rebinding.example"] = ["127.0.0.1"]
    said["shown"] = _ark(world, "dest", "show", "xn--bcher-kva.example")["destination"]["url"]
    said["second"] = _ping(world, "rebinding.example")
    said["reached"] = list(reached)
    reached.clear()
    said["moving"] = _move(str(directory / "ca.pem"))
    reached.clear()
    arguments = [option for name in (*SILENT, "public.example") for option in ("--to", name)]
    assert world.ark("send", "signal.promoted", "--queue", *arguments, stdin=PAYLOAD).status == 0
    for _ in range(MANY):
        assert world.ark("send", "signal.promoted", "--queue", "--to", "public.example", stdin=PAYLOAD).status == 0
    began = time.monotonic()
    drained = _ark(world, "drain")
    ended = time.monotonic()
    said["drain"] = {name["name"]: name for name in drained["destinations"]}
    said["took"] = ended - began
    said["well_after"] = max(at for _, _, at in reached) - began
    log = world.ark("log", "-n", "1000", "--json").out.splitlines()
    said["silent"] = [line for line in map(json.loads, log) if line["destination"] in SILENT]
    return said


def _move(ca_file: str) -> dict[str, Any]:
    """The addresses that attempts over one wire reached while names moved."""
    clock = FakeClock()
    wire: Wire[int] = Wire(ca_file, clock, lifetime=1)
    targets = {name: endpoint(f"https://{name}/", allow_local=False) for name in MOVING}
    said: dict[str, Any] = {}

    def attempt(name: str, at_once: int = 1) -> list[str | None]:
        wire.start(targets[name], [(Delivery(EVENT, 1), number) for number in range(at_once)])
        done: list[Answer] = []
        while wire.in_flight:
            done += [found for _, found in wire.wait(0.5)]
        there: list[str | None] = [address for address, _, _ in reached]
        reached.clear()
        return there or [None if found.unreached else found.error for found in done]

    # With a kept connection, then without one, then after a minute, when the look-up has expired.
    NAMES["moved.example"] = [PUBLIC]
    said["moved"] = [attempt("moved.example")]
    NAMES["moved.example"] = [ELSEWHERE]
    time.sleep(1.2)
    said["moved"].append(attempt("moved.example"))
    clock.advance(61)
    time.sleep(1.2)
    said["moved"].append(attempt("moved.example"))
    # If nothing answers, the next attempt looks the name up again.
    NAMES["down.example"] = [UNREACHABLE]
    said["down"] = [attempt("down.example")]
    NAMES["down.example"] = [PUBLIC]
    clock.advance(1)
    said["down"].append(attempt("down.example"))
    # There and back during an attempt: each attempt connects to the address found for it, not to the other's.
    NAMES["back.example"] = [PUBLIC]
    attempt("back.example", 2)
    answering.clear()
    for address in (ELSEWHERE, PUBLIC):
        NAMES["back.example"] = [address]
        clock.advance(61)
        time.sleep(1.2)
        wire.start(targets["back.example"], [(Delivery(EVENT, 1), 0)])
        before = len(reached)
        while len(reached) == before and wire.in_flight:
            wire.wait(0.1)
    answering.set()
    while wire.in_flight:
        wire.wait(0.5)
    said["back"] = [address for address, _, _ in reached]
    wire.close()
    return said


def _add(world: World, directory: Path, host: str, name: str, *options: str) -> None:
    ca_file = str(directory / "ca.pem")
    url = f"https://{host}/{name}"
    said = world.ark("dest", "add", url, "--name", name, "--no-ping", "--ca-file", ca_file, *options)
    assert said.status == 0, said


def _ping(world: World, *names: str) -> dict[str, Any]:
    return {said["destination"]: said for said in _ark(world, "ping", *names)["deliveries"]}


def _ark(world: World, *args: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "arkcli", *args, "--json"],
        env={**os.environ, **world.variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def _set_up(directory: Path) -> None:
    resolver = directory / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\noptions timeout:30\n")
    for command in (
        "ip link set lo up",
        *(f"ip address add {address} dev lo" for address in (PUBLIC, PUBLIC_6, ELSEWHERE, PRIVATE, METADATA)),
        f"mount --bind {resolver} /etc/resolv.conf",
    ):
        subprocess.run(command.split(), check=True, capture_output=True)


def _serve(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_talk, args=(connection, context), daemon=True).start()


def _talk(connection: socket.socket, context: ssl.SSLContext) -> None:
    address = connection.getsockname()[0]
    seen: list[str] = []
    context.sni_callback = lambda _, name, __: seen.append(name)
    try:
        with context.wrap_socket(connection, server_side=True) as stream, stream.makefile("rb") as reader:
            while (request := read_request(reader)) is not None:
                reached.append((address, request.headers["host"], time.monotonic()))
                answering.wait(20)
                stream.sendall(answer(200, request.headers["host"].encode()))
    except OSError:
        reached.append((address, "", time.monotonic()))


def _answer_names(server: socket.socket) -> None:
    """RFC 1035, as far as a resolver needs it."""
    while True:
        query, client = server.recvfrom(512)
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode().lower())
            at += query[at] + 1
        (kind,) = struct.unpack("!H", query[at + 1 : at + 3])
        name = ".".join(labels)
        if name in SILENT:
            continue
        asked[name] += kind == 1
        records = b""
        count = 0
        for address in NAMES.get(name, ()):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            if kind == (28 if family == socket.AF_INET6 else 1):
                packed = socket.inet_pton(family, address)
                records += b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 0, len(packed)) + packed
                count += 1
        flags = b"\x81\x80" if name in NAMES else b"\x81\x83"
        with contextlib.suppress(OSError):
            server.sendto(
                query[:2] + flags + struct.pack("!HHHH", 1, count, 0, 0) + query[12 : at + 5] + records, client
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

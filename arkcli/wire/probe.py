"""Connects to destinations without sending a request: for `ark doctor`."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pycurl

from arkcli.model import Destination
from arkcli.system.clock import Clock
from arkcli.text import clean
from arkcli.wire.answers import DEADLINE
from arkcli.wire.identity import Identities
from arkcli.wire.sockets import Sockets
from arkcli.wire.transfer import Transfer


class Reached(NamedTuple):
    """The result of connecting to a destination. `expires` lists when the certificates that it sent expire, as OpenSSL
    writes times; it is empty for http.
    """

    destination: Destination
    error: str | None
    duration_ms: int
    expires: list[str]


def reach(destinations: Sequence[Destination], ca_file: str, clock: Clock) -> list[Reached]:
    """Looks up and connects to every destination at once, including TLS, with the rules and the deadline of a delivery.
    Sends no request.
    """
    multi = pycurl.CurlMulti()
    sockets, identities = Sockets(), Identities(clock.monotonic)
    transfers: dict[pycurl.Curl, Transfer] = {}
    for destination in destinations:
        trusted, alias = destination.ca_file or ca_file, f"{destination.id}.invalid"
        transfer = Transfer(destination, trusted, alias, sockets, identities.of(destination), ca_file)
        transfers[transfer.curl] = transfer
        transfer.curl.setopt(pycurl.CONNECT_ONLY, 1)
        transfer.curl.setopt(pycurl.TIMEOUT_MS, int(DEADLINE * 1000))
        transfer.curl.setopt(pycurl.OPT_CERTINFO, 1)
        multi.add_handle(transfer.curl)
    problems: dict[pycurl.Curl, str] = {}
    left = len(transfers)
    while left:
        _, left = multi.perform()
        _, _, failed = multi.info_read(len(transfers))
        problems |= {curl: transfers[curl].why(code, clean(message)) for curl, code, message in failed}
        if left and multi.select(0.1) < 0:
            clock.sleep(0.01)
    found = [_reached(*each, problems) for each in zip(destinations, transfers, strict=True)]
    for curl in transfers:
        multi.remove_handle(curl)
    multi.close()
    return found


def _reached(destination: Destination, curl: pycurl.Curl, problems: Mapping[pycurl.Curl, str]) -> Reached:
    error = problems.get(curl)
    chain = curl.getinfo(pycurl.INFO_CERTINFO) if error is None else ()
    expires = [value for certificate in chain for name, value in certificate if name == "Expire date"]
    return Reached(destination, error, int(curl.getinfo(pycurl.TOTAL_TIME) * 1000), expires)

"""Reaching destinations without sending them anything: for `ark doctor`."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import pycurl

from arkcli.model import Destination
from arkcli.text import clean
from arkcli.wire.sockets import Sockets
from arkcli.wire.transfer import DEADLINE, Transfer


class Reached(NamedTuple):
    """What came of connecting to a destination. `expires` are the ends of the certificates it showed, as OpenSSL
    writes them; none for http.
    """

    destination: Destination
    error: str | None
    duration_ms: int
    expires: list[str]


def reach(destinations: Sequence[Destination], ca_file: str, sleep: Callable[[float], None]) -> list[Reached]:
    """Looks up, dials and shakes hands with each destination, all at once, under the rules and the deadline of a
    delivery. No request is sent.
    """
    multi = pycurl.CurlMulti()
    sockets = Sockets()
    transfers: dict[pycurl.Curl, Transfer] = {}
    for destination in destinations:
        transfer = Transfer(destination, destination.ca_file or ca_file, f"{destination.id}.invalid", sockets)
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
            sleep(0.01)
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

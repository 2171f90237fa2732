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
    transfers = [
        Transfer(destination, destination.ca_file or ca_file, f"{destination.id}.invalid", sockets)
        for destination in destinations
    ]
    for transfer in transfers:
        transfer.curl.setopt(pycurl.CONNECT_ONLY, 1)
        transfer.curl.setopt(pycurl.TIMEOUT_MS, int(DEADLINE * 1000))
        transfer.curl.setopt(pycurl.OPT_CERTINFO, 1)
        multi.add_handle(transfer.curl)
    problems: dict[pycurl.Curl, str] = {}
    by_handle = {transfer.curl: transfer for transfer in transfers}
    left = len(transfers)
    while left:
        _, left = multi.perform()
        _, _, failed = multi.info_read(len(transfers))
        problems |= {curl: by_handle[curl].why(code, clean(message)) for curl, code, message in failed}
        if left and multi.select(0.1) < 0:
            sleep(0.01)
    found = [_reached(*each, problems) for each in zip(destinations, transfers, strict=True)]
    for transfer in transfers:
        multi.remove_handle(transfer.curl)
    multi.close()
    return found


def _reached(destination: Destination, made: Transfer, problems: Mapping[pycurl.Curl, str]) -> Reached:
    took = int(made.curl.getinfo(pycurl.TOTAL_TIME) * 1000)
    error = problems.get(made.curl)
    return Reached(destination, error, took, _expires(made) if error is None else [])


def _expires(transfer: Transfer) -> list[str]:
    chain = transfer.curl.getinfo(pycurl.INFO_CERTINFO)
    return [value for certificate in chain for name, value in certificate if name == "Expire date"]

"""A bare loop over libcurl's multi interface: `python -m bench.bare URL BODIES [CA_FILE]`, one body per line.

It shows what the library alone can do from Python: it signs, reads, records and guards nothing. Prints bodies per
second.
"""

import sys
import time
from pathlib import Path
from typing import Final

import pycurl

IN_FLIGHT: Final = 64


def post(url: str, bodies: list[bytes], ca_file: str | None) -> None:
    """Posts every body once. Raises RuntimeError unless all are answered with 200."""
    multi = pycurl.CurlMulti()
    idle = [_handle(url, ca_file) for _ in range(IN_FLIGHT)]
    answered = 0
    left = iter(bodies)
    while answered < len(bodies):
        while idle and (body := next(left, None)) is not None:
            curl = idle.pop()
            curl.setopt(pycurl.POSTFIELDS, body)
            multi.add_handle(curl)
        multi.perform()
        _, succeeded, failed = multi.info_read()
        if failed:
            raise RuntimeError(f"a request failed: {failed[0][2]}")
        for curl in succeeded:
            if curl.getinfo(pycurl.RESPONSE_CODE) != 200:
                raise RuntimeError("an answer was no 200")
            multi.remove_handle(curl)
        answered += len(succeeded)
        idle += succeeded
        if not succeeded:
            multi.select(1.0)


def _handle(url: str, ca_file: str | None) -> pycurl.Curl:
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, url)
    curl.setopt(pycurl.POST, 1)
    curl.setopt(pycurl.HTTPHEADER, ["Content-Type: application/json", "Accept:", "Expect:"])
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.WRITEFUNCTION, len)
    if ca_file is not None:
        curl.setopt(pycurl.CAINFO, ca_file)
    return curl


def main() -> None:
    """Posts the bodies of a file."""
    url, path, *ca_file = sys.argv[1:]
    bodies = Path(path).read_bytes().splitlines()
    started = time.perf_counter()
    post(url, bodies, next(iter(ca_file), None))
    print(len(bodies) / (time.perf_counter() - started))


if __name__ == "__main__":
    main()

"""One POST through libcurl, and many at once. docs/internals.md, section 10.

The only module that speaks to the network on the way out. It signs at the moment of sending, so that no signature is
ever kept.
"""

import base64
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Generic, NamedTuple, TypeVar

import certifi
import pycurl

from arkcli import __version__, guard, signing
from arkcli.model import Answer, Delivery, Destination
from arkcli.screen import clean
from arkcli.signing import Concealed, Secret

Token = TypeVar("Token")

#: Everything together, from name look-up to the end of the response's headers (contract, "Delivery and retries").
DEADLINE_MS: Final = 10_000
#: How many bytes of an answer's body are kept.
EXCERPT: Final = 2048
#: An answer's body that is longer than this is cut off; its status counts all the same.
_LONGEST_BODY: Final = 64 * 1024
_MAX_CONNECTIONS: Final = 256
_CA_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
#: A broken name look-up and a refused connection differ in what to do about them; so do the words.
_WORDS: Final = {
    pycurl.E_UNSUPPORTED_PROTOCOL: "what came back is not HTTP/1.1",
    pycurl.E_COULDNT_RESOLVE_HOST: "the name cannot be looked up",
    pycurl.E_COULDNT_CONNECT: "no connection",
    pycurl.E_FTP_WEIRD_SERVER_REPLY: "the answer is broken",
    pycurl.E_SSL_CONNECT_ERROR: "the TLS handshake failed",
    pycurl.E_PEER_FAILED_VERIFICATION: "the certificate does not verify",
    pycurl.E_SSL_CACERT_BADFILE: "the CA file cannot be used",
    pycurl.E_GOT_NOTHING: "the connection was closed without an answer",
    pycurl.E_SEND_ERROR: "the connection broke while the request was sent",
    pycurl.E_RECV_ERROR: "the connection broke before the answer was complete",
    pycurl.E_PARTIAL_FILE: "the connection broke before the answer was complete",
    # CURLE_TOO_LARGE, for which pycurl has no name.
    100: "the answer's header lines are too many or too long",
}
_DETAILED: Final = (
    pycurl.E_SSL_CONNECT_ERROR,
    pycurl.E_PEER_FAILED_VERIFICATION,
    pycurl.E_SSL_CACERT_BADFILE,
    pycurl.E_FTP_WEIRD_SERVER_REPLY,
)


def ca_bundle(variables: Mapping[str, str]) -> str:
    """The CA certificates to trust: SSL_CERT_FILE, else the system's, else those that certifi brings."""
    given = variables.get("SSL_CERT_FILE")
    return given or next((path for path in _CA_BUNDLES if Path(path).is_file()), certifi.where())


class Endpoint:
    """A destination made ready for sending: its secret, its fixed headers, and connections' handles to use again."""

    def __init__(self, destination: Destination, secret: Secret) -> None:
        self.destination = destination
        self.secret = secret
        self.headers = [
            "Content-Type: application/json",
            f"User-Agent: ark/{__version__}",
            # Without these two libcurl would add headers of its own, and wait for a "100 Continue".
            "Accept:",
            "Expect:",
            *map(_header, destination.headers.items()),
        ]
        if destination.userinfo is not None:
            # RFC 7617; the charset is UTF-8.
            self.headers.append(f"Authorization: Basic {base64.b64encode(destination.userinfo.reveal()).decode()}")
        self.idle: list[_Transfer] = []

    def headers_for(self, delivery: Delivery) -> list[str]:
        """Every header of one attempt that `ark` itself sets, signature included (contract)."""
        event = delivery.event
        return [
            *self.headers,
            f"{signing.SIGNATURE_HEADER}: {signing.sign(self.secret, event.body)}",
            f"X-SignalArk-Event: {event.name}",
            f"X-SignalArk-Delivery: {event.id}.{self.destination.id}",
            f"X-SignalArk-Attempt: {delivery.attempt}",
        ]


def _header(header: tuple[str, Concealed]) -> str:
    name, value = header[0], header[1].reveal().decode()
    # So libcurl is told to send a header without a value.
    return f"{name}: {value}" if value else f"{name};"


class _Dialled(socket.socket):
    """A socket that libcurl duplicates: it closes when pycurl lets go of it, which is at once."""

    def __del__(self) -> None:
        self.close()


class _Transfer:
    """A libcurl handle for one destination, and what the answer under way has brought so far."""

    __slots__ = ("allow_local", "curl", "excerpt", "headers", "received", "refusal", "secure")

    def __init__(self, destination: Destination, ca_file: str) -> None:
        self.allow_local = destination.allow_local
        self.secure = destination.url.lower().startswith("https:")
        self.headers: list[bytes] = []
        self.excerpt = b""
        self.received = 0
        self.refusal: str | None = None
        curl = self.curl = pycurl.Curl()
        curl.setopt(pycurl.URL, destination.url.encode())
        curl.setopt(pycurl.POST, 1)
        curl.setopt(pycurl.TIMEOUT_MS, DEADLINE_MS)
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.PATH_AS_IS, 1)
        curl.setopt(pycurl.FOLLOWLOCATION, 0)
        curl.setopt(pycurl.PROXY, "")
        curl.setopt(pycurl.NETRC, pycurl.NETRC_IGNORED)
        http = pycurl.PROTO_HTTP if destination.allow_local else 0
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTPS | http)
        curl.setopt(pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2)
        curl.setopt(pycurl.CAINFO, destination.ca_file or ca_file)
        # A C function, called for every header line: nothing slower is needed unless the answer breaks off.
        curl.setopt(pycurl.HEADERFUNCTION, self.headers.append)
        curl.setopt(pycurl.WRITEFUNCTION, self._receive)
        curl.setopt(pycurl.OPENSOCKETFUNCTION, self._open)
        if not destination.allow_local:
            curl.setopt(pycurl.PREREQFUNCTION, self._before_request)

    def reset(self) -> None:
        self.headers.clear()
        self.excerpt = b""
        self.received = 0
        self.refusal = None

    def _receive(self, data: bytes) -> int | None:
        self.received += len(data)
        if len(self.excerpt) < EXCERPT:
            self.excerpt += data[: EXCERPT - len(self.excerpt)]
        return None if self.received <= _LONGEST_BODY else 0

    def _open(self, _purpose: int, address: tuple[int, int, int, tuple[str, int]]) -> socket.socket | int:
        family, kind, protocol, (host, *_) = address
        self.refusal = guard.refusal(host, allow_local=self.allow_local)
        if self.refusal is not None:
            return pycurl.SOCKET_BAD
        return _Dialled(family, kind, protocol)

    def _before_request(self, peer: str, *_: object) -> int:
        # A connection that is used again may have been opened for a destination that allows local addresses.
        self.refusal = guard.refusal(peer, allow_local=self.allow_local)
        return pycurl.PREREQFUNC_OK if self.refusal is None else pycurl.PREREQFUNC_ABORT

    def answer(self, code: int = 0, message: str = "") -> Answer:
        """What a transfer brought that ended with libcurl's code, 0 when it ran to its end.

        Its status counts once its headers are complete, whatever became of its body.
        """
        status = self.curl.getinfo(pycurl.RESPONSE_CODE)
        if status >= 200 and _complete(self.headers):
            return self._judged(status)
        # libcurl takes a connection that is closed amid the headers for the end of a short answer.
        why = self.why(code or pycurl.E_RECV_ERROR, message)
        return Answer(None, why, self.duration(), timed_out=code == pycurl.E_OPERATION_TIMEDOUT)

    def _judged(self, status: int) -> Answer:
        error = None
        if not 200 <= status <= 299:
            error = f"answered {status}, not a 2xx"
            if 300 <= status <= 399:
                error += "; redirects are never followed"
        return Answer(status, error, self.duration(), clean(self.excerpt.decode("utf-8", "replace")))

    def duration(self) -> int:
        """Milliseconds in all."""
        return int(self.curl.getinfo(pycurl.TOTAL_TIME) * 1000)

    def why(self, code: int, message: str) -> str:
        """What a libcurl code means here, in words."""
        if self.refusal is not None:
            return self.refusal
        if code == pycurl.E_OPERATION_TIMEDOUT:
            return f"{self._waiting_for()} within {DEADLINE_MS // 1000} s"
        words = _WORDS.get(code, f"libcurl's error {code}")
        errno = self.curl.getinfo(pycurl.OS_ERRNO)
        if code == pycurl.E_COULDNT_CONNECT and errno:
            return f"no connection: {os.strerror(errno).lower()}"
        return f"{words}: {clean(message)}" if code in _DETAILED or code not in _WORDS else words

    def expires(self) -> list[str]:
        """The ends of the certificates that were shown, as OpenSSL writes them."""
        chain = self.curl.getinfo(pycurl.INFO_CERTINFO)
        return [value for certificate in chain for name, value in certificate if name == "Expire date"]

    def _waiting_for(self) -> str:
        if not self.curl.getinfo(pycurl.NAMELOOKUP_TIME):
            return "the name was not looked up"
        if not self.curl.getinfo(pycurl.CONNECT_TIME):
            return "no connection"
        if self.secure and not self.curl.getinfo(pycurl.APPCONNECT_TIME):
            return "the TLS handshake was not done"
        return "no answer"


class Wire(Generic[Token]):
    """Any number of POSTs at once, each with a deadline of 10 s. One thread; nothing happens outside `wait`."""

    def __init__(self, ca_file: str, sleep: Callable[[float], None]) -> None:
        """`ca_file` names the CA certificates to trust where a destination names none of its own."""
        self._ca_file = ca_file
        self._sleep = sleep
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, _MAX_CONNECTIONS)
        self._under_way: dict[pycurl.Curl, tuple[_Transfer, Endpoint, Token]] = {}

    @property
    def in_flight(self) -> int:
        """How many attempts are under way."""
        return len(self._under_way)

    def start(self, endpoint: Endpoint, delivery: Delivery, token: Token) -> None:
        """Begins an attempt; `wait` will return the token with what came of it."""
        transfer = endpoint.idle.pop() if endpoint.idle else _Transfer(endpoint.destination, self._ca_file)
        transfer.reset()
        transfer.curl.setopt(pycurl.HTTPHEADER, endpoint.headers_for(delivery))
        transfer.curl.setopt(pycurl.POSTFIELDS, delivery.event.body)
        self._under_way[transfer.curl] = transfer, endpoint, token
        self._multi.add_handle(transfer.curl)

    def wait(self, seconds: float) -> list[tuple[Token, Answer]]:
        """What has come back; when nothing has, waits for it up to so many seconds, or until a signal."""
        self._multi.perform()
        done = self._collect()
        if done or not self._under_way:
            return done
        timeout = self._multi.timeout()
        if timeout >= 0:
            seconds = min(seconds, timeout / 1000)
        if seconds > 0:
            try:
                if self._multi.select(seconds) < 0:
                    self._sleep(min(seconds, 0.01))
            except InterruptedError:
                return []
        self._multi.perform()
        return self._collect()

    def _collect(self) -> list[tuple[Token, Answer]]:
        done = []
        while True:
            remaining, succeeded, failed = self._multi.info_read()
            for curl in succeeded:
                transfer, endpoint, token = self._under_way.pop(curl)
                done.append((token, transfer.answer()))
                self._multi.remove_handle(curl)
                endpoint.idle.append(transfer)
            for curl, code, message in failed:
                transfer, endpoint, token = self._under_way.pop(curl)
                done.append((token, transfer.answer(code, message)))
                self._multi.remove_handle(curl)
                endpoint.idle.append(transfer)
            if not remaining:
                return done

    def abandon(self) -> None:
        """Drops every attempt under way; nothing will be known of them."""
        for curl in self._under_way:
            self._multi.remove_handle(curl)
        self._under_way.clear()

    def close(self) -> None:
        """Closes all connections."""
        self.abandon()
        self._multi.close()


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
    transfers = [_Transfer(destination, ca_file) for destination in destinations]
    for transfer in transfers:
        transfer.curl.setopt(pycurl.CONNECT_ONLY, 1)
        transfer.curl.setopt(pycurl.OPT_CERTINFO, 1)
        multi.add_handle(transfer.curl)
    problems: dict[pycurl.Curl, str] = {}
    by_handle = {transfer.curl: transfer for transfer in transfers}
    left = len(transfers)
    while left:
        _, left = multi.perform()
        _, _, failed = multi.info_read(len(transfers))
        problems |= {curl: by_handle[curl].why(code, message) for curl, code, message in failed}
        if left and multi.select(0.1) < 0:
            sleep(0.01)
    found = [
        Reached(destination, problems.get(made.curl), made.duration(), [] if made.curl in problems else made.expires())
        for destination, made in zip(destinations, transfers, strict=True)
    ]
    for transfer in transfers:
        multi.remove_handle(transfer.curl)
    multi.close()
    return found


def _complete(headers: list[bytes]) -> bool:
    """Whether a blank line stands somewhere behind the last status line."""
    for line in reversed(headers):
        if line in (b"\r\n", b"\n"):
            return True
        if line.startswith(b"HTTP/"):
            return False
    return False

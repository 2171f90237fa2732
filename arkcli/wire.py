"""One POST through libcurl, and many at once. docs/internals.md, section 10.

The only module that speaks to the network on the way out. It signs at the moment of sending, so that no signature is
ever kept.
"""

import base64
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

import certifi
import pycurl

from arkcli import __version__, guard, signing, tlswords
from arkcli.errors import AddressRefused
from arkcli.lookup import Addresses, Lookups
from arkcli.model import Answer, Delivery, Destination
from arkcli.screen import clean
from arkcli.signing import Concealed, Secret
from arkcli.statusline import read_status
from arkcli.times import Clock

Token = TypeVar("Token")

#: Everything together, from name look-up to the end of the response's headers (contract, "Delivery and retries").
DEADLINE_MS: Final = 10_000
#: How many bytes of an answer's body are kept.
EXCERPT: Final = 2048
#: An answer's body that is longer than this is cut off; its status counts all the same.
_LONGEST_BODY: Final = 64 * 1024
_NOT_HTTP: Final = "what came back is not HTTP/1.1"
_MAX_CONNECTIONS: Final = 256
_CA_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_NO_NAME: Final = "the name cannot be looked up"
#: CURLE_TOO_LARGE, for which pycurl has no name.
_TOO_LARGE: Final = 100
#: A broken name look-up and a refused connection differ in what to do about them; so do the words.
_WORDS: Final = {
    pycurl.E_UNSUPPORTED_PROTOCOL: _NOT_HTTP,
    pycurl.E_COULDNT_RESOLVE_HOST: _NO_NAME,
    pycurl.E_COULDNT_CONNECT: "no connection",
    pycurl.E_FTP_WEIRD_SERVER_REPLY: "the answer is broken",
    pycurl.E_SSL_CONNECT_ERROR: "the TLS handshake failed",
    pycurl.E_PEER_FAILED_VERIFICATION: "the certificate does not verify",
    pycurl.E_SSL_CACERT_BADFILE: "the CA file cannot be used",
    pycurl.E_GOT_NOTHING: "the connection was closed without an answer",
    pycurl.E_SEND_ERROR: "the connection broke while the request was sent",
    pycurl.E_RECV_ERROR: "the connection broke before the answer was complete",
    pycurl.E_PARTIAL_FILE: "the connection broke before the answer was complete",
    pycurl.E_BAD_CONTENT_ENCODING: "the answer is broken",
    _TOO_LARGE: "the answer's header lines are too many or too long",
}
_DETAILED: Final = (
    pycurl.E_SSL_CONNECT_ERROR,
    pycurl.E_PEER_FAILED_VERIFICATION,
    pycurl.E_SSL_CACERT_BADFILE,
    pycurl.E_FTP_WEIRD_SERVER_REPLY,
    pycurl.E_BAD_CONTENT_ENCODING,
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
        self._signer = signing.Signer(secret)
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
        self.idle: list[Transfer] = []

    def headers_for(self, delivery: Delivery) -> list[str]:
        """Every header of one attempt that `ark` itself sets, signature included (contract)."""
        event = delivery.event
        return [
            *self.headers,
            f"{signing.SIGNATURE_HEADER}: {self._signer.sign(event.body)}",
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


class Transfer:
    """A libcurl handle for one destination, and what the answer under way has brought so far."""

    __slots__ = (
        *("addresses", "allow_local", "began", "curl", "excerpt", "head", "looked_up_ms", "name", "port"),
        *("received", "refusal", "secure", "unfit"),
    )

    def __init__(self, destination: Destination, ca_file: str) -> None:
        self.allow_local = destination.allow_local
        self.secure = destination.url.lower().startswith("https:")
        #: The status line and the headers, as far as they have come.
        self.head = bytearray()
        self.excerpt = b""
        self.received = 0
        self.refusal: str | None = None
        self.unfit: str | None = None
        url = destination.url
        try:
            url = guard.check_url(url, allow_local=self.allow_local)
        except AddressRefused as refused:
            # The store was edited by hand. What cannot be a destination is not dialled, and says so at each attempt.
            self.unfit = str(refused)
        name_and_port = None if self.unfit else guard.name_to_look_up(url)
        self.name: str | None
        self.name, self.port = name_and_port or (None, 0)
        self.addresses: Addresses = ()
        self.began = 0.0
        self.looked_up_ms = 0
        curl = self.curl = pycurl.Curl()
        curl.setopt(pycurl.URL, b"https://unfit.invalid/" if self.unfit else url.encode())
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
        curl.setopt(pycurl.SSL_VERIFYPEER, 1)
        curl.setopt(pycurl.SSL_VERIFYHOST, 2)
        curl.setopt(pycurl.CAINFO, os.fsencode(destination.ca_file or ca_file))
        # A method of Python's own: one of ours, called for every line, would cost twice as much.
        curl.setopt(pycurl.HEADERFUNCTION, self.head.extend)
        curl.setopt(pycurl.WRITEFUNCTION, self._receive)
        curl.setopt(pycurl.OPENSOCKETFUNCTION, self._open)
        if not destination.allow_local:
            curl.setopt(pycurl.PREREQFUNCTION, self._before_request)

    def prepare(self, headers: Sequence[str | bytes], body: bytes) -> None:
        """Forgets the answer before, and takes the next request."""
        self.head.clear()
        self.excerpt = b""
        self.received = 0
        self.refusal = None
        self.curl.setopt(pycurl.HTTPHEADER, headers)
        self.curl.setopt(pycurl.POSTFIELDS, body)

    def found(self, addresses: Addresses, milliseconds: int) -> None:
        """Takes in what the name was found to be, after so long a time of those that an attempt has."""
        if addresses != self.addresses:
            self.addresses = addresses
            self.curl.setopt(pycurl.RESOLVE, [f"{self.name}:{self.port}:{','.join(addresses)}"])
        if milliseconds != self.looked_up_ms:
            self.looked_up_ms = milliseconds
            self.curl.setopt(pycurl.TIMEOUT_MS, max(DEADLINE_MS - milliseconds, 1))

    def _receive(self, data: bytes) -> int | None:
        self.received += len(data)
        if len(self.excerpt) < EXCERPT:
            self.excerpt += data[: EXCERPT - len(self.excerpt)]
        return None if self.received <= _LONGEST_BODY else 0

    def _open(self, _purpose: int, address: tuple[int, int, int, tuple[str, int]]) -> socket.socket | int:
        family, kind, protocol, (host, *_) = address
        self.refusal = self.unfit or guard.refusal(host, allow_local=self.allow_local)
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
        timed_out = code == pycurl.E_OPERATION_TIMEDOUT
        status = read_status(self.head)
        self.head.clear()
        duration = self.duration
        if status:
            error = None if 200 <= status <= 299 else _not_delivered(status)
            excerpt = clean(self.excerpt.decode("utf-8", "replace")) if self.excerpt else ""
            return Answer(status, error, duration, excerpt, timed_out)
        if status == 0:
            return Answer(None, _NOT_HTTP, duration, timed_out=timed_out)
        # libcurl takes a connection that is closed amid the headers for the end of a short answer.
        why = self.why(code or pycurl.E_RECV_ERROR, clean(message))
        return Answer(None, why, duration, timed_out=timed_out)

    @property
    def duration(self) -> int:
        """Milliseconds in all."""
        return self.looked_up_ms + int(self.curl.getinfo(pycurl.TOTAL_TIME) * 1000)

    def why(self, code: int, message: str) -> str:
        """What a libcurl code and its message mean here, in words."""
        if self.unfit or self.refusal:
            return self.unfit or self.refusal or ""
        if code == pycurl.E_OPERATION_TIMEDOUT:
            return f"{self._waiting_for()} within {DEADLINE_MS // 1000} s"
        if code == pycurl.E_RECV_ERROR and message.startswith("Too large response headers"):
            code = _TOO_LARGE
        errno = self.curl.getinfo(pycurl.OS_ERRNO)
        if code == pycurl.E_COULDNT_CONNECT and errno:
            return f"no connection: {os.strerror(errno).lower()}"
        if code == pycurl.E_PEER_FAILED_VERIFICATION:
            message = tlswords.certificate(self.curl.getinfo(pycurl.SSL_VERIFYRESULT), message)
        elif code == pycurl.E_SSL_CONNECT_ERROR:
            message = tlswords.handshake(message)
        words = _WORDS.get(code, f"libcurl's error {code}")
        return f"{words}: {message}" if code in _DETAILED or code not in _WORDS else words

    def _waiting_for(self) -> str:
        if not self.curl.getinfo(pycurl.CONNECT_TIME):
            return "no connection"
        if self.secure and not self.curl.getinfo(pycurl.APPCONNECT_TIME):
            return "the TLS handshake was not done"
        return "no answer"


def _not_delivered(status: int) -> str:
    words = f"answered {status}, not a 2xx"
    return words + "; redirects are never followed" if 300 <= status <= 399 and status != 304 else words


class Wire(Generic[Token]):
    """Any number of POSTs at once, each with a deadline of 10 s. One thread; nothing happens outside `wait`."""

    def __init__(self, ca_file: str, clock: Clock) -> None:
        """`ca_file` names the CA certificates to trust where a destination names none of its own."""
        self._ca_file = ca_file
        self._clock = clock
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, _MAX_CONNECTIONS)
        self._lookups = Lookups(clock.monotonic)
        self._under_way: dict[pycurl.Curl, tuple[Transfer, Endpoint, Token]] = {}
        #: What waits for a name, oldest first.
        self._nameless: list[tuple[Transfer, Endpoint, Token]] = []

    @property
    def in_flight(self) -> int:
        """How many attempts are under way."""
        return len(self._under_way) + len(self._nameless)

    def start(self, endpoint: Endpoint, delivery: Delivery, token: Token) -> None:
        """Begins an attempt; `wait` will return the token with what came of it."""
        transfer = endpoint.idle.pop() if endpoint.idle else Transfer(endpoint.destination, self._ca_file)
        transfer.prepare(endpoint.headers_for(delivery), delivery.event.body)
        if transfer.name is not None:
            if not self._nameless:
                # What ended after its attempt had been given up says nothing of this one.
                self._lookups.finished()
            addresses = self._lookups.addresses(transfer.name)
            if addresses is None:
                transfer.began = self._clock.monotonic()
                self._nameless.append((transfer, endpoint, token))
                return
            transfer.found(addresses, 0)
        self._dial(transfer, endpoint, token)

    def _dial(self, transfer: Transfer, endpoint: Endpoint, token: Token) -> None:
        self._under_way[transfer.curl] = transfer, endpoint, token
        self._multi.add_handle(transfer.curl)

    def wait(self, seconds: float) -> list[tuple[Token, Answer]]:
        """What has come back; when nothing has, waits for it up to so many seconds, or until a signal."""
        done = self._take_names()
        self._multi.perform()
        done += self._collect()
        if done or not self.in_flight:
            return done
        timeout = self._multi.timeout()
        if timeout >= 0:
            seconds = min(seconds, timeout / 1000)
        if self._nameless:
            self._lookups.wait(max(seconds, 0), *self._multi.fdset())
            done = self._take_names()
        elif seconds > 0:
            try:
                if self._multi.select(seconds) < 0:
                    self._clock.sleep(min(seconds, 0.01))
            except InterruptedError:
                return []
        self._multi.perform()
        return done + self._collect()

    def _take_names(self) -> list[tuple[Token, Answer]]:
        """Dials what has a name's address now; what has waited for it until the deadline has failed."""
        if not self._nameless:
            return []
        done: list[tuple[Token, Answer]] = []
        found = dict(self._lookups.finished())
        now = self._clock.monotonic()
        waiting, self._nameless = self._nameless, []
        for transfer, endpoint, token in waiting:
            took = int((now - transfer.began) * 1000)
            addresses = found.get(transfer.name or "")
            if addresses:
                transfer.found(addresses, took)
                self._dial(transfer, endpoint, token)
            elif addresses is None and took < DEADLINE_MS:
                self._nameless.append((transfer, endpoint, token))
            else:
                late = addresses is None
                error = f"the name was not looked up within {DEADLINE_MS // 1000} s" if late else _NO_NAME
                done.append((token, Answer(None, error, took, timed_out=late)))
                endpoint.idle.append(transfer)
        return done

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
        self._nameless.clear()

    def close(self) -> None:
        """Closes all connections."""
        self.abandon()
        self._multi.close()
        self._lookups.close()

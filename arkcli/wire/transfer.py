"""One POST through libcurl: the handle that sends it, and what its answer means."""

import os
import socket
from collections.abc import Callable
from typing import Final

import pycurl

from arkcli.errors import AddressRefused
from arkcli.model import Answer, Destination
from arkcli.text import clean
from arkcli.url import Url, parse_url
from arkcli.wire import answers, guard, shortage
from arkcli.wire.answers import DEADLINE
from arkcli.wire.identity import Identity, use
from arkcli.wire.lookup import Addresses
from arkcli.wire.proxied import THROUGH, Proxied
from arkcli.wire.sockets import Sockets, has_bytes, is_connected
from arkcli.wire.trust import is_keychain_trusted

#: Asks the system's keychain, too. Older versions of pycurl do not have it.
_KEYCHAIN: Final[int | None] = getattr(pycurl, "SSLOPT_NATIVE_CA", None)
#: How much of an answer's body is kept, in bytes.
EXCERPT: Final = 2048
#: Reading stops when an answer's body is longer than this, in bytes; its status still counts.
_LONGEST_BODY: Final = 64 * 1024
_NOT_HTTP: Final = "what came back is not HTTP/1.1"
_HTTPHEADER: Final = pycurl.HTTPHEADER
_POSTFIELDS: Final = pycurl.POSTFIELDS
#: Without these, libcurl would add its own headers and wait for "100 Continue".
_NONE_OF_ITS_OWN: Final = ("Accept:", "Expect:")
_NO_IPV6: Final = "no connection can be opened: IPv6 is not available here"
_TOO_EARLY: Final = "the server answered before the request had been sent"
#: How much libcurl reads at once of a request: its least. A handle keeps this buffer; by default it has 64 KiB.
_BUFFER: Final = 16 * 1024
#: A request whose header lines and body have at most this many bytes together, with a URL of 7 KiB at most, leaves in
#: one piece, so no answer can come while it is being sent.
_ONE_PIECE: Final = 8 * 1024
_GO_ON: Final = pycurl.PREREQFUNC_OK
_ABORT: Final = pycurl.PREREQFUNC_ABORT
#: libcurl before 8.10 does not report when the request had been sent.
_REQUEST_SENT: Final[int | None] = getattr(pycurl, "POSTTRANSFER_TIME_T", None)
#: CURLE_TOO_LARGE, for which pycurl has no name.
_TOO_LARGE: Final = 100
#: One message per cause, since a failed name look-up and a refused connection need different remedies. `{}` is replaced
#: by libcurl's own message.
_WORDS: Final = {
    pycurl.E_UNSUPPORTED_PROTOCOL: _NOT_HTTP,
    pycurl.E_COULDNT_RESOLVE_HOST: "the name cannot be resolved",
    pycurl.E_COULDNT_CONNECT: "no connection",
    pycurl.E_FTP_WEIRD_SERVER_REPLY: "the answer is broken: {}",
    pycurl.E_SSL_CONNECT_ERROR: "the TLS handshake failed: {}",
    pycurl.E_PEER_FAILED_VERIFICATION: "the certificate does not verify: {}",
    pycurl.E_SSL_CACERT_BADFILE: "the CA file cannot be used: {}",
    pycurl.E_GOT_NOTHING: "the connection was closed without an answer",
    pycurl.E_SEND_ERROR: "the connection broke while the request was sent",
    pycurl.E_RECV_ERROR: "the connection broke before the answer was complete",
    pycurl.E_PARTIAL_FILE: "the connection broke before the answer was complete",
    pycurl.E_BAD_CONTENT_ENCODING: "the answer is broken: {}",
    _TOO_LARGE: "the answer's header lines are too many or too long",
}
#: How the head of nearly every answer begins and ends.
_USUAL: Final = b"HTTP/1.1 200 "
_BLANK_LINES: Final = (b"\n\r\n", b"\n\n")
#: The connection ended before the answer was complete.
_BROKEN: Final = (pycurl.E_GOT_NOTHING, pycurl.E_SEND_ERROR, pycurl.E_RECV_ERROR)


class _Socket(socket.socket):
    """A socket that pycurl duplicates for libcurl and drops at once, which closes it."""

    def __del__(self) -> None:
        # If the system refused the socket, there is nothing to close.
        if self.fileno() >= 0:
            self.close()


class Transfer:
    """A libcurl handle for one destination, and what has arrived of the answer under way.

    The handle connects to `alias`, a name that only its endpoint uses; it stands for the addresses of the URL's host.
    libcurl shares connections by this name, so no endpoint uses another's connections. The `Host` header, SNI and the
    name checked in the certificate come from the URL.
    """

    __slots__ = (
        *("addresses", "alias", "allow_local", "ca_file", "certified", "curl", "excerpt", "head", "is_fresh"),
        *("is_large", "is_stray", "looks", "name", "now", "opened", "port", "proxy", "received", "refusal", "secure"),
        *("sockets", "unfit", "unopened", "was_sent"),
    )

    def __init__(
        self,
        destination: Destination,
        ca_file: str,
        alias: str,
        sockets: Sockets,
        identity: Identity | None = None,
        proxy_ca_file: str = "",
        now: Callable[[], int] = lambda: 0,
    ) -> None:
        """`ca_file` holds the certificates to trust, `proxy_ca_file` those for an https proxy; `now` is the wall clock.
        Call `found` before the transfer starts, unless libcurl itself should look up the host.
        """
        self.alias = alias
        self.ca_file = ca_file
        self.now = now
        self.allow_local = destination.allow_local
        self.sockets, self.looks = sockets, sockets.looks
        #: The descriptors of the sockets opened for this request.
        self.opened: list[int] = []
        #: What has arrived of the status line and the headers.
        self.head = bytearray()
        self.unfit: str | None = None
        #: Whether the request needs a new connection, because the kept one had stray bytes or was closed.
        self.is_fresh = False
        #: Whether the request has gone out on a kept connection.
        self.was_sent = False
        self.is_large = False
        self._forget()
        try:
            url = parse_url(destination.url, allow_local=self.allow_local)
        except AddressRefused as refused:
            # The store was edited by hand. ark does not connect to such a URL; every attempt fails with the reason.
            self.unfit = str(refused)
            url = parse_url("https://0.0.0.0/", allow_local=False)
        self.secure = url.scheme == "https"
        self.port = url.port
        #: The name to look up; None if the URL contains an IP address.
        self.name: str | None = None if url.addresses else url.host
        self.addresses: Addresses = ()
        curl = self.curl = pycurl.Curl()
        curl.setopt(pycurl.URL, url.ascii.encode())
        curl.setopt(pycurl.POST, 1)
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.UPLOAD_BUFFERSIZE, _BUFFER)
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.PATH_AS_IS, 1)
        # pycurl sets one of its own, which libcurl would send beside ours.
        curl.setopt(pycurl.USERAGENT, "")
        curl.setopt(pycurl.FOLLOWLOCATION, 0)
        curl.setopt(pycurl.PROXY, "")
        curl.setopt(pycurl.NETRC, pycurl.NETRC_IGNORED)
        http = pycurl.PROTO_HTTP if destination.allow_local else 0
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTPS | http)
        curl.setopt(pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2)
        curl.setopt(pycurl.SSL_VERIFYPEER, 1)
        curl.setopt(pycurl.SSL_VERIFYHOST, 2)
        curl.setopt(pycurl.CAINFO, os.fsencode(ca_file))
        if _KEYCHAIN is not None and is_keychain_trusted(ca_file):
            # Only then: with this, libcurl no longer caches the certificates of the file.
            curl.setopt(pycurl.SSL_OPTIONS, _KEYCHAIN)
        # A built-in method: a function of ours, called for every line, would cost twice as much.
        curl.setopt(pycurl.HEADERFUNCTION, self.head.extend)
        curl.setopt(pycurl.WRITEFUNCTION, self._receive)
        curl.setopt(pycurl.OPENSOCKETFUNCTION, self._open)
        curl.setopt(pycurl.SOCKOPTFUNCTION, self._opened)
        curl.setopt(pycurl.PREREQFUNCTION, self._before_request)
        self._set_way(destination, url, identity, proxy_ca_file)

    def _set_way(self, destination: Destination, url: Url, identity: Identity | None, proxy_ca_file: str) -> None:
        """Sets the client certificate and the proxy. Sets the addresses to connect to if they need no look-up."""
        self.certified, self.proxy, addresses = identity is not None, None, url.addresses
        if identity is not None:
            use(identity, self.curl)
            self.unfit = self.unfit or identity.problem
        if destination.proxy is not None:
            proxy = self.proxy = Proxied(self.curl, destination.proxy.reveal().decode(), proxy_ca_file)
            self.unfit = self.unfit or proxy.refusal(url, allow_local=self.allow_local)
            if proxy.resolves:
                self.name, self.port, addresses = proxy.name, proxy.port, proxy.addresses
        if addresses:
            self.found(addresses)

    def prepare(self, head: str, body: bytes) -> None:
        """Discards the last answer and takes the next request: its header lines (`head`) and its body."""
        self.is_large = len(body) + len(head) > _ONE_PIECE
        setopt = self.curl.setopt
        # libcurl sends each entry unchanged, so one entry can hold all lines; that is faster.
        setopt(_HTTPHEADER, [head, *_NONE_OF_ITS_OWN])
        setopt(_POSTFIELDS, body)
        self.was_sent = False
        # `answer` has cleared the head; the rest has seldom changed.
        if self.opened or self.received or self.is_stray or self.refusal is not None:
            self._forget()
            if self.is_fresh:
                self.is_fresh = False
                setopt(pycurl.FRESH_CONNECT, 0)

    def again(self) -> None:
        """Prepares the same request for a new connection."""
        self.is_fresh = True
        self.curl.setopt(pycurl.FRESH_CONNECT, 1)
        self._forget()

    def _forget(self) -> None:
        self.head.clear()
        self.opened.clear()
        self.excerpt = b""
        self.received = 0
        self.refusal: str | None = None
        #: The error number if the system refused to open a socket.
        self.unopened: int | None = None
        self.is_stray = False

    def found(self, addresses: Addresses) -> None:
        """Sets the addresses of the URL's host, or of the proxy's if the proxy looks up the URL's."""
        # Compared by identity: libcurl keeps only the last setting for an alias, which may come from another handle, so
        # a later look-up is passed on even if its addresses are the same.
        if addresses is self.addresses:
            return
        self.addresses = addresses
        if self.proxy is not None and self.proxy.resolves:
            self.proxy.found(self.alias, addresses)
            return
        if self.proxy is not None:
            addresses = self.proxy.permitted(addresses, allow_local=self.allow_local)
        self.curl.setopt(pycurl.CONNECT_TO, [f"::{self.alias}:{self.port}"])
        self.curl.setopt(pycurl.RESOLVE, [f"{self.alias}:{self.port}:{','.join(addresses)}"])

    def _receive(self, data: bytes) -> int | None:
        self.received += len(data)
        if len(self.excerpt) < EXCERPT:
            self.excerpt += data[: EXCERPT - len(self.excerpt)]
        return None if self.received <= _LONGEST_BODY else 0

    def _open(self, _purpose: int, address: tuple[int, int, int, tuple[str, int]]) -> socket.socket | int:
        family, kind, protocol, (host, *_) = address
        self.refusal = self.unfit or (
            guard.refusal(host, allow_local=self.allow_local) if self.proxy is None else self.proxy.refused(host)
        )
        if self.refusal is not None:
            return pycurl.SOCKET_BAD
        try:
            made = _Socket(family, kind, protocol)
            # pycurl duplicates it, too, but does not report a lack of descriptors.
            os.close(os.dup(made.fileno()))
        except OSError as error:
            self.unopened = error.errno
            self.refusal = f"no connection can be opened: {os.strerror(error.errno or 0).lower()}"
            return pycurl.SOCKET_BAD
        return made

    def _opened(self, descriptor: int, _purpose: int) -> int:
        self.opened.append(descriptor)
        return 0

    def _before_request(self, peer: str, local: str, _: int, port: int) -> int:
        """Called when libcurl has a connection, just before it sends the request on it."""
        if not self.allow_local and self.proxy is None:
            # A reused connection may have been opened while the destination still allowed local addresses.
            self.refusal = guard.refusal(peer, allow_local=False)
            if self.refusal is not None:
                return _ABORT
        if self.opened and (new := self.sockets.connected(local, port, self.opened)) is not None:
            # Over TLS, early bytes may be session tickets: they follow the handshake (RFC 8446, 4.6.1).
            self.is_stray = self._is_libcurls_repeat or (not self.secure and has_bytes(new))
            return _ABORT if self.is_stray else _GO_ON
        look = self.looks.get((local, port))
        # At most one try on a kept connection: libcurl would try up to five, all dead if the first is, and then fail.
        if look is not None and not self.was_sent and not look(0):
            self.was_sent = True
            return _GO_ON
        self.is_stray = True
        return _ABORT

    def came_early(self) -> bool:
        """Whether bytes arrived before the request had been sent: then they cannot be its answer."""
        if not self.is_large or self.is_stray or _REQUEST_SENT is None:
            return self.is_stray
        sent = self.curl.getinfo(_REQUEST_SENT)
        return bool(self.head) and not 0 < sent <= self.curl.getinfo(pycurl.STARTTRANSFER_TIME_T)

    @property
    def named(self) -> str:
        """Whose name `name` is, in words."""
        return "the name of the proxy" if self.proxy is not None and self.proxy.resolves else "the name"

    @property
    def _is_libcurls_repeat(self) -> bool:
        """Whether libcurl itself is about to repeat a large request. It adds up the times of both tries, so that
        `came_early` would not work.
        """
        return self.was_sent and self.is_large and not self.is_fresh

    def is_to_be_repeated(self, code: int) -> bool:
        """Whether to repeat the request, which ended with this libcurl code, once on a new connection.

        True if a kept connection broke before a line of the answer arrived, or delivered bytes too early.
        """
        if self.is_fresh or not (self.came_early() or (code in _BROKEN and not self.head)):
            return False
        return (self.is_stray and self._is_libcurls_repeat) or not self.curl.getinfo(pycurl.NUM_CONNECTS)

    def answer(self, duration: int, code: int = 0, message: str = "") -> Answer:
        """The result of a transfer. `duration` is in milliseconds; `code` is libcurl's, 0 for no error.

        The status counts as soon as the headers are complete, even if the body is not; but a 2xx that came early does
        not count.
        """
        head = self.head
        if head.startswith(_USUAL) and head.endswith(_BLANK_LINES) and not (code or self.is_large or self.is_stray):
            head.clear()
            return Answer(200, None, duration, self._said() if self.excerpt else "")
        timed_out = code == pycurl.E_OPERATION_TIMEDOUT
        early = (self.is_large or self.is_stray) and self.came_early()
        status = answers.read_status(self.head)
        if status is None and not early:
            # libcurl reports a connection closed in the middle of the headers as a complete response.
            return self._no_answer(code or pycurl.E_RECV_ERROR, clean(message), duration)
        wait = answers.read_retry_after(self.head, self.now()) if status in answers.ASKING else None
        self.head.clear()
        if early and (status is None or 200 <= status <= 299):
            return Answer(None, _TOO_EARLY + (THROUGH if self.proxy else ""), duration, timed_out=timed_out)
        if status:
            error = None if 200 <= status <= 299 else answers.not_delivered(status)
            return Answer(status, error, duration, self._said(), timed_out, retry_after=wait)
        return Answer(None, _NOT_HTTP, duration, timed_out=timed_out)

    def _said(self) -> str:
        return clean(self.excerpt.decode("utf-8", "replace"))

    def _no_answer(self, code: int, message: str, duration: int) -> Answer:
        """The result of a transfer whose headers are incomplete."""
        if code in _BROKEN and answers.is_about_client(message, certified=self.certified):
            # In TLS 1.3 the server sends this alert after the client has finished its handshake.
            code = pycurl.E_SSL_CONNECT_ERROR
        lacking = self._lacking(code)
        unreached = not lacking and not self.head and self._is_unreached(code, message)
        self.head.clear()
        late = code == pycurl.E_OPERATION_TIMEDOUT
        why = shortage.words(lacking) if lacking else self.why(code, message)
        return Answer(None, why, duration, timed_out=late, unreached=unreached, lacking=lacking)

    def _is_unreached(self, code: int, message: str) -> bool:
        """Whether the receiver was unreachable: no connection, or one that ended before an answer."""
        if self.unfit or (self.refusal and self.unopened is None):
            return False
        if self._of_proxy(code, message) is not None:
            return code != pycurl.E_OPERATION_TIMEDOUT
        if code == pycurl.E_SSL_CONNECT_ERROR:
            return answers.failed_handshake(message) == answers.CLOSED
        return code in (*_BROKEN, pycurl.E_COULDNT_CONNECT, pycurl.E_COULDNT_RESOLVE_HOST)

    def _lacking(self, code: int) -> str | None:
        """The resource that was too scarce to make the attempt; None if none was, or once the request has gone out."""
        if self.was_sent:
            return None
        if code == pycurl.E_OUT_OF_MEMORY:
            return shortage.MEMORY
        if code == pycurl.E_SSL_CACERT_BADFILE:
            return shortage.of_descriptors_for(self.ca_file)
        if code != pycurl.E_COULDNT_CONNECT or self.unfit:
            return None
        if self.refusal:
            return shortage.shortage(self.unopened)
        return shortage.of_ports(self.curl.getinfo(pycurl.OS_ERRNO), self.addresses)

    def why(self, code: int, message: str) -> str:
        """Why the transfer failed, in words, from a libcurl code and its message."""
        if self.unfit or (self.refusal and not (self.unopened and self.opened)):
            return self.unfit or self.refusal or ""
        return self._of_proxy(code, message) or self._why(code, message) + (THROUGH if self.proxy else "")

    def _of_proxy(self, code: int, message: str) -> str | None:
        """Why the proxy made no connection; None if it made one, or if there is no proxy."""
        is_kept = self.was_sent and not self.opened
        return None if self.proxy is None or is_kept else self.proxy.why(code, message)

    def _why(self, code: int, message: str) -> str:
        if code == pycurl.E_OPERATION_TIMEDOUT:
            return f"{self._waiting_for()} within {DEADLINE:.0f} s"
        if code == pycurl.E_RECV_ERROR and message.startswith("Too large response headers"):
            code = _TOO_LARGE
        errno = self.curl.getinfo(pycurl.OS_ERRNO)
        if code == pycurl.E_COULDNT_CONNECT and errno:
            return f"no connection: {os.strerror(errno).lower()}"
        if self.certified and message == answers.EXPIRED:
            code, message = pycurl.E_SSL_CONNECT_ERROR, "alert certificate expired"
        if code == pycurl.E_PEER_FAILED_VERIFICATION:
            message = answers.wrong_certificate(self.curl.getinfo(pycurl.SSL_VERIFYRESULT), message)
        elif code == pycurl.E_SSL_CONNECT_ERROR:
            message = answers.failed_handshake(message, certified=self.certified)
        elif code == pycurl.E_COULDNT_RESOLVE_HOST and self.addresses:
            # libcurl skips IPv6 addresses if the system cannot open an IPv6 socket.
            return _NO_IPV6
        return _WORDS.get(code, f"libcurl's error {code}: {{}}").format(message)

    def _waiting_for(self) -> str:
        if not self.opened:
            return "no answer"
        if not any(map(is_connected, self.opened)):
            return "no connection"
        if self.secure and not self.curl.getinfo(pycurl.APPCONNECT_TIME):
            return "the TLS handshake was not done"
        return "no answer"

"""One POST through libcurl: the handle that makes it, and what its answer means."""

import os
import socket
from typing import Final

import pycurl

from arkcli.errors import AddressRefused
from arkcli.model import Answer, Destination
from arkcli.text import clean
from arkcli.url import parse_url
from arkcli.wire import answers, guard, shortage
from arkcli.wire.lookup import Addresses
from arkcli.wire.sockets import Sockets, has_bytes, is_connected

#: Seconds for everything together: name look-up, connection, TLS, the request and the answer's headers
#: (contract, "Delivery and retries").
DEADLINE: Final = 10.0
#: How many bytes of an answer's body are kept.
EXCERPT: Final = 2048
#: An answer's body that is longer than this is cut off; its status counts all the same.
_LONGEST_BODY: Final = 64 * 1024
_NOT_HTTP: Final = "what came back is not HTTP/1.1"
_HTTPHEADER: Final = pycurl.HTTPHEADER
_POSTFIELDS: Final = pycurl.POSTFIELDS
#: Without these libcurl would add headers of its own, and wait for a "100 Continue".
_NONE_OF_ITS_OWN: Final = ("Accept:", "Expect:")
NO_NAME: Final = "the name cannot be resolved"
_NO_IPV6: Final = "no connection can be opened: IPv6 is not available here"
_TOO_EARLY: Final = "the server answered before the request had been sent"
#: A request with a shorter body leaves in one piece, so no answer can come while it is being sent. Bytes.
_ONE_PIECE: Final = 8 * 1024
_GO_ON: Final = pycurl.PREREQFUNC_OK
_ABORT: Final = pycurl.PREREQFUNC_ABORT
#: libcurl before 8.10 does not tell when the request had been sent.
_REQUEST_SENT: Final[int | None] = getattr(pycurl, "POSTTRANSFER_TIME_T", None)
#: CURLE_TOO_LARGE, for which pycurl has no name.
_TOO_LARGE: Final = 100
#: A broken name look-up and a refused connection differ in what to do about them; so do the words. Where there are
#: braces, libcurl's own are put in.
_WORDS: Final = {
    pycurl.E_UNSUPPORTED_PROTOCOL: _NOT_HTTP,
    pycurl.E_COULDNT_RESOLVE_HOST: NO_NAME,
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
#: A connection that ended before an answer did.
_BROKEN: Final = (pycurl.E_GOT_NOTHING, pycurl.E_SEND_ERROR, pycurl.E_RECV_ERROR)


class _Dialled(socket.socket):
    """A socket that libcurl duplicates: it closes when pycurl lets go of it, which is at once."""

    def __del__(self) -> None:
        # One that the system refused was never made whole.
        if self.fileno() >= 0:
            self.close()


class Transfer:
    """A libcurl handle for one destination, and what the answer under way has brought so far.

    The handle dials `alias`, a name of the endpoint's own that stands for the addresses of the URL's host. libcurl
    shares connections by the name that is dialled, so no endpoint is given another's. The `Host` header, SNI and the
    certificate's name are the URL's.
    """

    __slots__ = (
        *("addresses", "alias", "allow_local", "ca_file", "curl", "excerpt", "head", "is_fresh", "is_large"),
        *("is_stray", "looks", "name", "opened", "port", "received", "refusal", "secure", "sockets", "unfit"),
        *("unopened", "was_sent"),
    )

    def __init__(self, destination: Destination, ca_file: str, alias: str, sockets: Sockets) -> None:
        """`ca_file` holds the certificates to trust. `found` has to be called before it is dialled, unless libcurl
        itself is to look the host up.
        """
        self.alias = alias
        self.ca_file = ca_file
        self.allow_local = destination.allow_local
        self.sockets, self.looks = sockets, sockets.looks
        #: Sockets that were opened for the request and have not connected yet, as far as is known.
        self.opened: list[int] = []
        #: The status line and the headers, as far as they have come.
        self.head = bytearray()
        self.unfit: str | None = None
        #: Whether the request may only go out on a new connection, since the kept one was spoilt or has died.
        self.is_fresh = False
        #: Whether the request has gone out on a kept connection.
        self.was_sent = False
        self.is_large = False
        self._forget()
        try:
            url = parse_url(destination.url, allow_local=self.allow_local)
        except AddressRefused as refused:
            # The store was edited by hand. What cannot be a destination is not dialled, and says so at each attempt.
            self.unfit = str(refused)
            url = parse_url("https://0.0.0.0/", allow_local=False)
        self.secure = url.scheme == "https"
        self.port = url.port
        #: What to look up; None where the URL names an address itself.
        self.name: str | None = None if url.addresses else url.host
        self.addresses: Addresses = ()
        curl = self.curl = pycurl.Curl()
        curl.setopt(pycurl.URL, url.dialled.encode())
        curl.setopt(pycurl.POST, 1)
        curl.setopt(pycurl.NOSIGNAL, 1)
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
        # A method of Python's own: one of ours, called for every line, would cost twice as much.
        curl.setopt(pycurl.HEADERFUNCTION, self.head.extend)
        curl.setopt(pycurl.WRITEFUNCTION, self._receive)
        curl.setopt(pycurl.OPENSOCKETFUNCTION, self._open)
        curl.setopt(pycurl.SOCKOPTFUNCTION, self._opened)
        curl.setopt(pycurl.PREREQFUNCTION, self._before_request)
        if url.addresses:
            self.found(url.addresses)

    def prepare(self, head: str, body: bytes) -> None:
        """Forgets the answer before, and takes the next request: the lines of its headers, and its body."""
        self.is_large = len(body) > _ONE_PIECE
        setopt = self.curl.setopt
        # libcurl sends an entry of the list as it is, so that one is enough for all of them, and faster.
        setopt(_HTTPHEADER, [head, *_NONE_OF_ITS_OWN])
        setopt(_POSTFIELDS, body)
        self.was_sent = False
        # `answer` took the head; the rest is as it was, but seldom.
        if self.opened or self.received or self.is_stray or self.refusal is not None:
            self._forget()
            if self.is_fresh:
                self.is_fresh = False
                setopt(pycurl.FRESH_CONNECT, 0)

    def again(self) -> None:
        """Makes the same request ready for a new connection."""
        self.is_fresh = True
        self.curl.setopt(pycurl.FRESH_CONNECT, 1)
        self._forget()

    def _forget(self) -> None:
        self.head.clear()
        self.opened.clear()
        self.excerpt = b""
        self.received = 0
        self.refusal: str | None = None
        #: Why the system gave no socket: its error number.
        self.unopened: int | None = None
        self.is_stray = False

    def found(self, addresses: Addresses) -> None:
        """Takes in which addresses the URL's host has."""
        # Of equal ones, too, where they were found later: libcurl keeps what it was told last of an alias, be it
        # another handle that told it.
        if addresses is not self.addresses:
            self.addresses = addresses
            self.curl.setopt(pycurl.CONNECT_TO, [f"::{self.alias}:{self.port}"])
            self.curl.setopt(pycurl.RESOLVE, [f"{self.alias}:{self.port}:{','.join(addresses)}"])

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
        try:
            made = _Dialled(family, kind, protocol)
            # pycurl does the same, and says nothing where there is no descriptor for it.
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
        """Called when a connection is there, just before the request goes out on it."""
        if not self.allow_local:
            # A connection that is used again may have been opened when the destination allowed local addresses.
            self.refusal = guard.refusal(peer, allow_local=False)
            if self.refusal is not None:
                return _ABORT
        if self.opened and (new := self.sockets.connected(local, port, self.opened)) is not None:
            # Over TLS session tickets may have come: they follow the handshake (RFC 8446, 4.6.1).
            self.is_stray = self._is_libcurls_repeat or (not self.secure and has_bytes(new))
            return _ABORT if self.is_stray else _GO_ON
        look = self.looks.get((local, port))
        # libcurl itself would repeat it on up to five kept connections, each as dead as the first, and then give up.
        if look is not None and not self.was_sent and not look(0):
            self.was_sent = True
            return _GO_ON
        self.is_stray = True
        return _ABORT

    def came_early(self) -> bool:
        """Whether bytes of the answer came before the request had been sent, so that they answer something else."""
        if not self.is_large or self.is_stray or _REQUEST_SENT is None:
            return self.is_stray
        sent = self.curl.getinfo(_REQUEST_SENT)
        return bool(self.head) and not 0 < sent <= self.curl.getinfo(pycurl.STARTTRANSFER_TIME_T)

    @property
    def _is_libcurls_repeat(self) -> bool:
        """Whether libcurl is about to repeat a large request. It adds up the times of both tries, so that nobody could
        tell whether the answer came too early.
        """
        return self.was_sent and self.is_large and not self.is_fresh

    def is_to_be_repeated(self, code: int) -> bool:
        """Whether the request, which ended with a libcurl code, is to go out once more, on a new connection.

        It is where a kept connection broke before a line of an answer had come, or brought something too early.
        """
        if self.is_fresh or not (self.came_early() or (code in _BROKEN and not self.head)):
            return False
        return (self.is_stray and self._is_libcurls_repeat) or not self.curl.getinfo(pycurl.NUM_CONNECTS)

    def answer(self, duration: int, code: int = 0, message: str = "") -> Answer:
        """What a transfer brought. `duration` is in milliseconds, `code` libcurl's: 0 for no error.

        Its status counts once its headers are complete, whatever became of its body; but no 2xx does that came early.
        """
        timed_out = code == pycurl.E_OPERATION_TIMEDOUT
        early = (self.is_large or self.is_stray) and self.came_early()
        status = answers.read_status(self.head)
        if status is None and not early:
            # libcurl takes a connection that is closed within the headers for the end of a short answer.
            return self._no_answer(code or pycurl.E_RECV_ERROR, clean(message), duration)
        self.head.clear()
        if early and (status is None or 200 <= status <= 299):
            return Answer(None, _TOO_EARLY, duration, timed_out=timed_out)
        if status:
            error = None if 200 <= status <= 299 else _not_delivered(status)
            excerpt = clean(self.excerpt.decode("utf-8", "replace")) if self.excerpt else ""
            return Answer(status, error, duration, excerpt, timed_out)
        return Answer(None, _NOT_HTTP, duration, timed_out=timed_out)

    def _no_answer(self, code: int, message: str, duration: int) -> Answer:
        """What it means that no headers have come to their end."""
        if code in _BROKEN and answers.failed_handshake(message) == answers.ASKS:
            # In TLS 1.3 a server says so once the client's part of the handshake is done.
            code = pycurl.E_SSL_CONNECT_ERROR
        lacking = self._lacking(code)
        unreached = not lacking and not self.head and self._is_unreached(code, message)
        self.head.clear()
        late = code == pycurl.E_OPERATION_TIMEDOUT
        why = shortage.words(lacking) if lacking else self.why(code, message)
        return Answer(None, why, duration, timed_out=late, unreached=unreached, lacking=lacking)

    def _is_unreached(self, code: int, message: str) -> bool:
        """Whether nobody was there: no connection, or none that lasted until an answer."""
        if self.unfit or (self.refusal and self.unopened is None):
            return False
        if code == pycurl.E_SSL_CONNECT_ERROR:
            return answers.failed_handshake(message) == answers.CLOSED
        return code in (*_BROKEN, pycurl.E_COULDNT_CONNECT, pycurl.E_COULDNT_RESOLVE_HOST)

    def _lacking(self, code: int) -> str | None:
        """What this machine had too little of to make the attempt; None once the request has gone out."""
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
        """What a libcurl code and its message mean here, in words."""
        if self.unfit or (self.refusal and not (self.unopened and self.opened)):
            return self.unfit or self.refusal or ""
        if code == pycurl.E_OPERATION_TIMEDOUT:
            return f"{self._waiting_for()} within {DEADLINE:.0f} s"
        if code == pycurl.E_RECV_ERROR and message.startswith("Too large response headers"):
            code = _TOO_LARGE
        errno = self.curl.getinfo(pycurl.OS_ERRNO)
        if code == pycurl.E_COULDNT_CONNECT and errno:
            return f"no connection: {os.strerror(errno).lower()}"
        if code == pycurl.E_PEER_FAILED_VERIFICATION:
            message = answers.wrong_certificate(self.curl.getinfo(pycurl.SSL_VERIFYRESULT), message)
        elif code == pycurl.E_SSL_CONNECT_ERROR:
            message = answers.failed_handshake(message)
        elif code == pycurl.E_COULDNT_RESOLVE_HOST and self.addresses:
            # libcurl passes over IPv6 addresses where the system gives no socket for them.
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


def _not_delivered(status: int) -> str:
    words = f"answered {status}, not a 2xx"
    return words + "; ark does not follow redirects" if 300 <= status <= 399 and status != 304 else words

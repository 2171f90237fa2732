"""A transfer's way through a proxy: how libcurl gets there, and what the proxy's refusals mean.

`ark` asks every HTTP proxy for a tunnel (CONNECT), for http destinations too. So an answer to the request is never the
proxy's own, unless the proxy forges it.
"""

import os
from typing import Final

import pycurl

from arkcli.url import Url, parse_proxy
from arkcli.wire import answers, guard
from arkcli.wire.lookup import Addresses

#: CURLOPT_SUPPRESS_CONNECT_HEADERS and CURLINFO_PROXY_SSL_VERIFYRESULT, for which pycurl has no names. Without the
#: first, the proxy's answer to CONNECT would pass for the receiver's.
_SUPPRESS_CONNECT_HEADERS: Final = 265
_PROXY_SSL_VERIFYRESULT: Final = 0x20002F
#: CURLE_PROXY: a SOCKS proxy refused.
_REFUSED: Final = 97
#: What a SOCKS proxy's refusal means, by libcurl's number (CURLPX_…).
_SOCKS: Final = {
    3: "closed the connection",
    12: "wants a user name and password",
    19: "says that the receiver refused the connection",
    20: "failed",
    21: "found no way to the receiver",
    22: "found no way to the receiver",
    23: "does not allow this destination",
    33: "refused the user name and password",
}
#: What its answer to CONNECT means.
_MEANING: Final = {
    403: "it does not allow this destination",
    405: "it allows no tunnel there",
    407: "it wants a user name and password",
    502: "it did not reach the receiver",
    503: "it did not reach the receiver",
    504: "it did not reach the receiver",
}
_CLOSED: Final = "the proxy closed the connection without an answer"
_NO_WAY: Final = "no connection through the proxy within 10 s"
#: Why an HTTP proxy did not answer a CONNECT, by libcurl's code.
_WORDS: Final = {
    pycurl.E_OPERATION_TIMEDOUT: "no answer from the proxy within 10 s",
    pycurl.E_FTP_WEIRD_SERVER_REPLY: "the proxy's answer is not HTTP/1.1",
    pycurl.E_GOT_NOTHING: _CLOSED,
    pycurl.E_SEND_ERROR: _CLOSED,
    pycurl.E_RECV_ERROR: _CLOSED,
}
#: Added to an error that came after the proxy had made a connection.
THROUGH: Final = " (through the proxy)"


class Proxied:
    """The proxy of one libcurl handle."""

    __slots__ = ("_curl", "_proxy", "barred", "port")

    def __init__(self, curl: pycurl.Curl, setting: str, ca_file: str) -> None:
        """Sets the handle up for the proxy with this URL. `ca_file` has the certificates to trust if it is https."""
        proxy = self._proxy = parse_proxy(setting)
        self._curl = curl
        self.port = proxy.port
        #: Why the proxy must not be asked for any of the addresses that ark has found for the destination.
        self.barred: str | None = None
        self._dial(proxy.host)
        curl.setopt(pycurl.HTTPPROXYTUNNEL, 1)
        curl.setopt(_SUPPRESS_CONNECT_HEADERS, 1)
        # Otherwise NO_PROXY in the environment would exempt destinations.
        curl.setopt(pycurl.NOPROXY, "")
        curl.setopt(pycurl.HEADEROPT, pycurl.HEADER_SEPARATE)
        if proxy.userinfo is not None:
            user, _, password = proxy.userinfo.reveal().partition(b":")
            curl.setopt(pycurl.PROXYUSERNAME, user)
            curl.setopt(pycurl.PROXYPASSWORD, password)
        if proxy.scheme == "https":
            curl.setopt(pycurl.PROXY_SSLVERSION, pycurl.SSLVERSION_TLSv1_2)
            curl.setopt(pycurl.PROXY_SSL_VERIFYPEER, 1)
            curl.setopt(pycurl.PROXY_SSL_VERIFYHOST, 2)
            curl.setopt(pycurl.PROXY_CAINFO, ca_file)
            # See `found`.
            curl.setopt(pycurl.FORBID_REUSE, 1)

    @property
    def resolves(self) -> bool:
        """Whether the proxy looks up the destination's name. Then ark looks up only the proxy's."""
        return self._proxy.resolves

    @property
    def name(self) -> str | None:
        """The proxy's name; None if its URL contains an IP address."""
        return None if self._proxy.addresses else self._proxy.host

    @property
    def addresses(self) -> Addresses:
        """The addresses in the proxy's URL."""
        return self._proxy.addresses

    def refusal(self, url: Url, *, allow_local: bool) -> str | None:
        """Why ark may not ask the proxy for a destination, as far as the URL tells; None if it may."""
        return guard.refusal_behind_proxy(url.host, url.addresses, allow_local=allow_local) if self.resolves else None

    def found(self, alias: str, addresses: Addresses) -> None:
        """Sets the proxy's addresses.

        libcurl shares connections by the proxy's name, so it gets `alias` for it, which is the endpoint's own. A
        certificate is for the real name: an https proxy keeps that, and so none of its connections is kept.
        """
        if self._proxy.scheme != "https":
            self._dial(alias)
            self._curl.setopt(pycurl.RESOLVE, [f"{alias}:{self.port}:{','.join(addresses)}"])
        elif not self._proxy.addresses:
            self._curl.setopt(pycurl.RESOLVE, [f"{self._proxy.host}:{self.port}:{','.join(addresses)}"])

    def permitted(self, addresses: Addresses, *, allow_local: bool) -> Addresses:
        """The destination's addresses for which ark may ask the proxy. If there are none, sets `barred`."""
        refusals = [guard.refusal(address, allow_local=allow_local) for address in addresses]
        allowed = tuple(address for address, said in zip(addresses, refusals, strict=True) if said is None)
        self.barred = None if allowed else refusals[0]
        return allowed or addresses

    def refused(self, address: str) -> str | None:
        """Why ark may not connect to the proxy at this address; None if it may. The user chose it: it may be local."""
        if self.barred is not None:
            return self.barred
        refusal = guard.refusal(address, allow_local=True)
        return None if refusal is None else f"the proxy's address {refusal}"

    def why(self, code: int, message: str) -> str | None:
        """Why the proxy made no connection, in words, from a libcurl code and its message; None if it made one."""
        status = self._curl.getinfo(pycurl.HTTP_CONNECTCODE)
        if 200 <= status <= 299:
            return None
        if status:
            return f"the proxy answered {status}: {_MEANING.get(status, 'it made no connection')}"
        if code == pycurl.E_COULDNT_RESOLVE_PROXY:
            return "the name of the proxy cannot be resolved"
        if code == _REFUSED:
            said = _SOCKS.get(self._curl.getinfo(pycurl.PROXY_ERROR))
            return f"the proxy {said}" if said else f"the proxy made no connection: {message}"
        if code == pycurl.E_COULDNT_CONNECT:
            errno = self._curl.getinfo(pycurl.OS_ERRNO)
            return (
                f"no connection to the proxy: {os.strerror(errno).lower()}" if errno else "no connection to the proxy"
            )
        return self._unanswered(code, message)

    def _unanswered(self, code: int, message: str) -> str | None:
        """Why the proxy did not answer."""
        if self._proxy.scheme.startswith("socks"):
            # libcurl does not tell whether the proxy was waited for, or the receiver's TLS handshake.
            is_late = code == pycurl.E_OPERATION_TIMEDOUT and not self._curl.getinfo(pycurl.PRETRANSFER_TIME)
            return _NO_WAY if is_late else None
        if code == pycurl.E_PEER_FAILED_VERIFICATION:
            wrong = answers.wrong_certificate(self._curl.getinfo(_PROXY_SSL_VERIFYRESULT), message)
            return f"the proxy's certificate does not verify: {wrong}"
        if code == pycurl.E_SSL_CONNECT_ERROR:
            return f"the TLS handshake with the proxy failed: {answers.failed_handshake(message)}"
        return _WORDS.get(code)

    def _dial(self, host: str) -> None:
        name = f"[{host}]" if ":" in host else host
        self._curl.setopt(pycurl.PROXY, f"{self._proxy.scheme}://{name}:{self.port}")

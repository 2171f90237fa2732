"""Forwards requests to an application, byte for byte, and returns its answers."""

import asyncio
import os
import socket
import ssl
from collections.abc import Iterable
from typing import Final

import httpx

from arkcli.errors import AddressRefused, UsageError
from arkcli.httpd.messages import Header, Reply, Request
from arkcli.url import parse_url, split_userinfo
from arkcli.wire import answers

#: How long an application may take for its complete answer, in seconds. The sender waits for 10 s.
DEADLINE: Final = 30.0
#: The largest body that an application may answer with, in bytes.
LARGEST_ANSWER: Final = 1024 * 1024

#: Headers that concern one connection only (RFC 9110, section 7.6.1). `Connection` may name more.
_HOP_BY_HOP: Final = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"te", b"transfer-encoding", b"upgrade")
)
#: Not copied: httpx makes them from the URL and the body. The server here has already answered `Expect`.
_MADE_ANEW: Final = frozenset((b"host", b"content-length", b"expect"))


class Forwarder:
    """An application that gets the requests."""

    def __init__(self, url: str, ca_file: str | None = None, deadline: float = DEADLINE) -> None:
        """`ca_file` holds the CA certificates to trust for https; `deadline` is in seconds. A user name and password in
        the URL are sent with HTTP Basic authentication (RFC 7617).

        Raises AddressRefused if the URL is invalid, UsageError if the certificates cannot be used.
        """
        try:
            plain, userinfo = split_userinfo(url)
            parse_url(plain, allow_local=True)
            self._url = httpx.URL(plain)
            trust = ssl.create_default_context(cafile=ca_file if self._url.scheme == "https" else None)
        except (AddressRefused, httpx.InvalidURL) as error:
            raise AddressRefused(f"--forward-to: {error}") from None
        except OSError as error:
            raise UsageError(f"--forward-to: the CA certificates in {ca_file} cannot be used: {error}") from None
        # As for a delivery. Python 3.13 and later is stricter by default and rejects many home-made authorities.
        trust.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
        user, _, password = userinfo.reveal().partition(b":") if userinfo is not None else (b"", b"", b"")
        self._auth = httpx.Auth() if userinfo is None else httpx.BasicAuth(user, password)
        self._deadline = deadline
        # No limit here, because httpx does not always free the connection of a cancelled request. The server's limit on
        # connections limits these, too.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=32)
        self._client = httpx.AsyncClient(timeout=None, limits=limits, trust_env=False, verify=trust)

    @property
    def url(self) -> str:
        """The application's URL, without a user name and password."""
        return str(self._url)

    async def forward(self, request: Request) -> Reply:
        """The application's answer; 502 or 504 if there is none."""
        headers = end_to_end(request.headers)
        outgoing = httpx.Request(request.method, self._url, headers=headers, content=request.body)
        answer = None
        try:
            async with asyncio.timeout(self._deadline):
                answer = await self._client.send(outgoing, auth=self._auth, stream=True)
                try:
                    return await _read(answer)
                finally:
                    await answer.aclose()
        except TimeoutError:
            return _failed(504, f"the application did not answer within {self._deadline:g} s")
        except (httpx.HTTPError, OSError) as error:
            # OSError, too: httpx does not wrap what OpenSSL reports after the handshake.
            return _failed(502, _why(error, self._url, answered=answer is not None))

    async def close(self) -> None:
        """Closes all connections."""
        await self._client.aclose()


def end_to_end(headers: Iterable[Header]) -> list[Header]:
    """The headers to forward: all except those for one connection, and those that httpx makes."""
    given = [(name, value) for name, value in headers if name.lower() not in _MADE_ANEW]
    named = {
        word.strip().lower() for name, value in given if name.lower() == b"connection" for word in value.split(b",")
    }
    return [(name, value) for name, value in given if name.lower() not in _HOP_BY_HOP | named]


async def _read(answer: httpx.Response) -> Reply:
    if answer.status_code < 200:
        return _failed(502, f"the application sent only an interim response ({answer.status_code})")
    pieces = bytearray()
    async for piece in answer.aiter_raw():
        pieces += piece
        if len(pieces) > LARGEST_ANSWER:
            return _failed(502, f"the application's answer is larger than {LARGEST_ANSWER:,} bytes")
    phrase = answer.extensions.get("reason_phrase", b"")
    return Reply(answer.status_code, tuple(end_to_end(answer.headers.raw)), bytes(pieces), phrase)


def _why(error: Exception, url: httpx.URL, *, answered: bool) -> str:
    """Why there is no answer. `answered` says whether its headers arrived."""
    origin = _origin(url)
    cause: BaseException | None = error
    while cause is not None and not (isinstance(cause, OSError) and cause.errno):
        # Find the system's or OpenSSL's error. With several addresses take the last one's, usually IPv4.
        cause = cause.exceptions[-1] if isinstance(cause, BaseExceptionGroup) else cause.__cause__ or cause.__context__
    if isinstance(cause, socket.gaierror):
        return f"the name in {origin} cannot be resolved"
    if isinstance(cause, ssl.SSLCertVerificationError):
        wrong = answers.wrong_certificate(cause.verify_code, cause.verify_message)
        helps = (
            ". Pass the CA certificates to trust with --forward-ca-file FILE"
            if cause.verify_code in (18, 19, 20, 21)
            else ""
        )
        return f"the certificate of {origin} does not verify: {wrong}{helps}"
    if isinstance(cause, ssl.SSLError):
        return f"the TLS handshake with {origin} failed: {answers.failed_handshake(str(cause))}"
    if isinstance(cause, ConnectionRefusedError):
        return f"nothing answers at {origin}; is the application running?"
    system = os.strerror(cause.errno or 0).lower() if isinstance(cause, OSError) else ""
    said = system or str(error) or "the connection ended"
    if isinstance(error, httpx.ConnectError):
        return f"no connection to {origin}: {said}"
    perhaps = f"it requires {answers.CLIENT_CERTIFICATE}" if url.scheme == "https" else "it expects https"
    return f"the application closed the connection: {said}" + ("" if answered else f"; perhaps {perhaps}")


def _origin(url: httpx.URL) -> str:
    """Scheme, host and port of a URL. The sender may read this, so it must not contain the path and the query."""
    return f"{url.scheme}://{url.netloc.decode()}"


def _failed(status: int, error: str) -> Reply:
    return Reply(status, body=f"{error}\n".encode(), error=error)

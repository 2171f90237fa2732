"""Client certificates (mutual TLS): reads them, checks them, and notices when their files have changed."""

import math
import os
import shlex
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import pycurl

from arkcli.errors import UsageError
from arkcli.model import Destination
from arkcli.signing import Concealed
from arkcli.system.followed import stamp_of
from arkcli.system.owner import is_private
from arkcli.system.refused import in_words, name_of

#: For how long the last good pair is used after its files have changed to an unusable one, in seconds: nobody can
#: replace two files at once.
_GRACE: Final = 10.0
#: When to read files again that cannot be used, although their stamps are the same, in seconds.
_AGAIN: Final = 5.0
_SEQUENCE: Final = 0x30
_UTC_TIME: Final = 0x17


class Identity(NamedTuple):
    """A client certificate with its chain, in PEM, and its key; or the `problem` with the files."""

    certificate: bytes
    key: Concealed
    problem: str | None = None


class _Seen(NamedTuple):
    """What was read, the files' stamps then, and until when that counts if the stamps stay the same."""

    identity: Identity
    stamps: tuple[object, object]
    until: float


class Identities:
    """The client certificates in use, by their files."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._seen: dict[tuple[str, str], _Seen] = {}

    def of(self, destination: Destination) -> Identity | None:
        """The destination's client certificate, as its files are now; None if it has none."""
        if destination.client_cert is None or destination.client_key is None:
            return None
        paths = destination.client_cert, destination.client_key
        stamps, now = (stamp_of(Path(paths[0])), stamp_of(Path(paths[1]))), self._monotonic()
        known = self._seen.get(paths)
        if known is None or known.stamps != stamps or now >= known.until:
            known = self._seen[paths] = self._read(paths, stamps, known, now)
        return known.identity

    def _read(self, paths: tuple[str, str], stamps: tuple[object, object], before: _Seen | None, now: float) -> _Seen:
        try:
            return _Seen(read_identity(*map(Path, paths)), stamps, math.inf)
        except UsageError as error:
            if before is not None and before.identity.problem is None:
                until = now + _GRACE if before.until == math.inf else before.until
                if now < until:
                    return _Seen(before.identity, stamps, until)
            return _Seen(Identity(b"", Concealed(b""), str(error)), stamps, now + _AGAIN)


def read_identity(certificate: Path, key: Path) -> Identity:
    """A client certificate and its key. Raises UsageError unless both are usable and belong together."""
    # Imported here because it takes 5 ms and is seldom needed.
    import ssl

    pem, secret = _read(certificate, "client certificate"), _read(key, "client key", private=True)
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        raise UsageError(f"the client certificate {certificate} contains no certificate in PEM form")
    if b"PRIVATE KEY-----" not in secret:
        raise UsageError(f"the client key {key} contains no private key in PEM form")
    if b"ENCRYPTED" in secret:
        new = f"openssl pkey -in {shlex.quote(str(key))} -out NEW"
        raise UsageError(f"the client key {key} is encrypted, and ark cannot ask for its password; decrypt it: `{new}`")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password="")
        expires_at(pem)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise UsageError(f"the client key {key} does not belong to the certificate {certificate}") from None
        what = f"the client certificate {certificate} or its key {key}"
        raise UsageError(f"{what} cannot be used: {error.reason or error}") from None
    except (OSError, ValueError, IndexError) as error:
        raise UsageError(f"the client certificate {certificate} cannot be used: {error}") from None
    return Identity(pem, Concealed(secret))


def use(identity: Identity, curl: pycurl.Curl) -> None:
    """Lets a libcurl handle use a client certificate."""
    if identity.problem is None:
        curl.setopt(pycurl.SSLCERT_BLOB, identity.certificate)
        curl.setopt(pycurl.SSLKEY_BLOB, identity.key.reveal())
        # A session that is resumed would keep the identity with which it began.
        curl.setopt(pycurl.SSL_SESSIONID_CACHE, 0)


def expires_at(pem: bytes) -> int:
    """When the first certificate in a PEM file expires, in milliseconds since 1970. Raises ValueError."""
    import ssl

    first, end, _ = pem.decode("ascii", "replace").partition("-----END CERTIFICATE-----")
    der = ssl.PEM_cert_to_DER_cert(first[first.index("-----BEGIN CERTIFICATE-----") :] + end)
    # RFC 5280, 4.1: the validity is the third sequence in the certificate's first sequence.
    (_, *signed), *_ = _elements(der, *_element(der, 0)[1:])
    _, _, validity, *_ = [content for kind, *content in _elements(der, *signed) if kind == _SEQUENCE]
    _, (kind, begin, until) = _elements(der, *validity)
    ends = der[begin:until].decode("ascii")
    if kind == _UTC_TIME:
        ends = ("20" if ends < "50" else "19") + ends
    return round(datetime.strptime(ends, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp() * 1000)


def _read(path: Path, what: str, *, private: bool = False) -> bytes:
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            data = file.read()
        owner = os.geteuid() or path.parent.stat().st_uid
    except OSError as error:
        raise UsageError(f"the {what} {path} cannot be read: {in_words(error)}") from None
    if private and found.st_uid not in (0, owner):
        raise UsageError(f"the {what} {path} belongs to {name_of(found.st_uid)}, who could change it; make it yours")
    if private and not is_private(found):
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        raise UsageError(
            f"other users can read the {what} {path} (mode {mode}); run `chmod 600 {shlex.quote(str(path))}`, and "
            "replace the key if other users had access"
        )
    return data


def _elements(der: bytes, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The elements between two positions in DER: the kind of each, and where its content begins and ends."""
    while begin < end:
        kind, at, begin = _element(der, begin)
        yield kind, at, begin


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    kind, size, at = der[at], der[at + 1], at + 2
    if size & 0x80:
        count = size & 0x7F
        size, at = int.from_bytes(der[at : at + count]), at + count
    return kind, at, at + size

"""A server elsewhere has to prove its name: real TLS in front of a real server.

libpq asks for TLS with eight bytes, and begins it after one byte.
"""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from arkcli.database.address import address_of
from arkcli.database.connection import Database
from arkcli.errors import Unreachable
from tests.postgres import Network, network
from tests.world import Certificates

_ASKS_FOR_GSS = (80877104).to_bytes(4)


class Front:
    """Takes one connection, with TLS, and passes it on to a network."""

    def __init__(self, wrap: Callable[[socket.socket], socket.socket], to: Network) -> None:
        self._wrap, self._to = wrap, to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError), self._listener.accept()[0] as near:
            while near.recv(8)[4:] == _ASKS_FOR_GSS:
                near.sendall(b"N")
            near.sendall(b"S")
            with self._wrap(near) as inner, socket.create_connection(("127.0.0.1", self._to.port)) as far:
                back = threading.Thread(target=_pass, args=(far, inner), daemon=True)
                back.start()
                _pass(inner, far)
                far.shutdown(socket.SHUT_RDWR)
                back.join()

    def close(self) -> None:
        self._listener.close()
        self._thread.join(5)


def _pass(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)


@pytest.fixture
def authority(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest.fixture
def way(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    # The address that libpq dials for every name.
    monkeypatch.setitem(os.environ, "PGHOSTADDR", "127.0.0.1")
    with network(empty_database) as found:
        yield found


def connected(way: Network, authority: Certificates, name: str, options: str = "", ca_file: str | None = None) -> bool:
    """Whether ark talks to a server that has a certificate for `db.example`, asked for by a name."""
    with closing(Front(authority.wrapping("db.example"), way)) as front:
        url = f"postgresql://postgres@{name}:{front.port}/{way.url.rpartition('/')[2]}{options}"
        with closing(Database(address_of(url, {}, ca_file=ca_file or authority.ca_file))) as database:
            with database.transaction() as cursor:
                cursor.execute("select 1")
            return cursor.fetchone() == (1,)


def test_a_server_with_a_valid_certificate_is_spoken_to(way: Network, authority: Certificates) -> None:
    assert connected(way, authority, "db.example")


def test_one_with_a_certificate_for_another_name_is_not(way: Network, authority: Certificates) -> None:
    with pytest.raises(Unreachable, match=r'does not match host name "other\.example"'):
        connected(way, authority, "other.example")


def test_one_that_an_unknown_authority_vouches_for_is_not(
    way: Network, authority: Certificates, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(Unreachable, match="certificate verify failed"):
        connected(way, authority, "db.example", ca_file=Certificates(tmp_path / "other").ca_file)


def test_one_without_encryption_is_not(way: Network) -> None:
    url = f"postgresql://postgres@db.example:{way.port}/{way.url.rpartition('/')[2]}"
    with (
        closing(Database(address_of(url, {}))) as database,
        pytest.raises(Unreachable, match="SSL"),
        database.transaction(),
    ):
        pass


def test_the_user_may_decide_otherwise(way: Network, authority: Certificates, tmp_path: Path) -> None:
    assert connected(way, authority, "other.example", "?sslmode=require")

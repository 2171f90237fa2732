"""Detecting what happened on a kept connection before it is used again."""

import os
import socket
from collections.abc import Callable, Iterator

import pytest

from arkcli.wire.sockets import Sockets, has_bytes

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def connect() -> Iterator[Callable[[], Ends]]:
    """Makes connections; the first end is ours."""
    made: list[socket.socket] = []

    def connected() -> Ends:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            theirs, _ = listener.accept()
        made.extend((ours, theirs))
        return ours, theirs

    yield connected
    for one in made:
        one.close()


def test_a_new_connection_is_known_by_its_local_end(connect: Callable[[], Ends]) -> None:
    sockets = Sockets()
    (first, _), (second, _) = connect(), connect()
    address, port = second.getsockname()
    assert sockets.connected(address, port, [first.fileno(), second.fileno()]) == second.fileno()
    assert sockets.looks.keys() == {(address, port)}
    assert sockets.connected(address, port, [first.fileno()]) is None, "this is another one"
    assert sockets.connected(address, port, []) is None, "none was opened"


def test_nothing_has_happened_until_bytes_have_come_or_the_other_side_is_gone(connect: Callable[[], Ends]) -> None:
    sockets = Sockets()
    ours, theirs = connect()
    address, port = ours.getsockname()
    sockets.connected(address, port, [ours.fileno()])
    look = sockets.looks[address, port]
    assert not look(0)
    theirs.sendall(b"x")
    assert look(0)
    ours.recv(1)
    assert not look(0)
    theirs.close()
    assert look(0)


def test_a_descriptor_that_is_used_again_forgets_the_connection_before(connect: Callable[[], Ends]) -> None:
    sockets = Sockets()
    (first, _), (second, _) = connect(), connect()
    address, port = first.getsockname()
    sockets.connected(address, port, [first.fileno()])
    os.dup2(second.fileno(), first.fileno())
    address, port = second.getsockname()
    assert sockets.connected(address, port, [first.fileno()]) == first.fileno()
    assert sockets.looks.keys() == {(address, port)}


def test_what_libcurl_owns_is_never_closed_here(connect: Callable[[], Ends]) -> None:
    ours, theirs = connect()
    address, port = ours.getsockname()
    Sockets().connected(address, port, [ours.fileno()])
    theirs.sendall(b"x")
    assert ours.recv(1) == b"x"


def test_a_socket_that_has_been_closed_since_is_passed_over(connect: Callable[[], Ends]) -> None:
    ours, _ = connect()
    (address, port), descriptor = ours.getsockname(), ours.fileno()
    ours.close()
    assert Sockets().connected(address, port, [descriptor]) is None
    assert not has_bytes(descriptor)


def test_bytes_that_came_are_told_from_the_end_of_the_connection(connect: Callable[[], Ends]) -> None:
    (ours, theirs), (other, ending) = connect(), connect()
    assert not has_bytes(ours.fileno())
    theirs.sendall(b"x")
    assert has_bytes(ours.fileno())
    assert ours.recv(9) == b"x", "it is still there"
    ending.close()
    assert not has_bytes(other.fileno())

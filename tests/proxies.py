"""Proxies on real sockets: CONNECT and SOCKS5. Every name leads to 127.0.0.1."""

import contextlib
import ipaddress
import socket
import threading

from tests.hostile.servers import Handler, Talk

Where = tuple[str, int]


def tunnels(asked: list[Where] | None = None) -> Handler:
    """An HTTP proxy that takes CONNECT. Notes what it was asked for."""

    def handle(talk: Talk) -> None:
        request = talk.read()
        if request is None:
            return
        method, target, _ = request.line.split()
        assert method == "CONNECT", request
        host, _, port = target.rpartition(":")
        if asked is not None:
            asked.append((host, int(port)))
        _join(talk, int(port), b"HTTP/1.1 200 Connection established\r\nX-Proxy: yes\r\n\r\n")

    return handle


def socks(asked: list[Where] | None = None, login: bytes | None = None, reply: int = 0) -> Handler:
    """A SOCKS5 proxy (RFC 1928), with a user name and password (RFC 1929) if `login` is `user:password`."""

    def handle(talk: Talk) -> None:
        connection = talk.connection
        count = _exactly(connection, 2)[1]
        methods = _exactly(connection, count)
        if login is not None:
            if 2 not in methods:
                connection.sendall(b"\x05\xff")
                return
            connection.sendall(b"\x05\x02")
            user = _exactly(connection, _exactly(connection, 2)[1])
            password = _exactly(connection, _exactly(connection, 1)[0])
            well = user + b":" + password == login
            connection.sendall(b"\x01\x00" if well else b"\x01\x01")
            if not well:
                return
        else:
            connection.sendall(b"\x05\x00")
        kind = _exactly(connection, 4)[3]
        if kind == 3:
            host = _exactly(connection, _exactly(connection, 1)[0]).decode()
        else:
            host = str(ipaddress.ip_address(_exactly(connection, 4 if kind == 1 else 16)))
        port = int.from_bytes(_exactly(connection, 2))
        if asked is not None:
            asked.append((host, port))
        answer = bytes([5, reply, 0, 1, 0, 0, 0, 0, 0, 0])
        if reply:
            connection.sendall(answer)
            return
        _join(talk, port, answer)

    return handle


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        if not (more := connection.recv(size - len(data))):
            raise OSError("closed")
        data += more
    return data


def _join(talk: Talk, port: int, answer: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as there:
        talk.say(answer)
        back = threading.Thread(target=_copy, args=(there, talk.connection), daemon=True)
        back.start()
        _copy(talk.connection, there)
        back.join(5)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)

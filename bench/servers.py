"""Servers on loopback: nginx with its own configuration, a slow one, a silent one, Redis and PostgreSQL."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Final, NamedTuple

import trustme

from bench.peers import program

HOST: Final = "127.0.0.1"

#: One worker, so that server and client have a core each on two cores. Connections are kept open for the whole run.
_CONFIGURATION: Final = Template("""
daemon off;
worker_processes 1;
pid $directory/nginx.pid;
error_log $directory/error.log;
events { worker_connections 4096; }
http {
    client_body_temp_path $directory/body;
    proxy_temp_path $directory/proxy;
    fastcgi_temp_path $directory/fastcgi;
    uwsgi_temp_path $directory/uwsgi;
    scgi_temp_path $directory/scgi;
    client_body_buffer_size 64k;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    # A line for each connection costs next to nothing and records every handshake.
    map $$connection_requests $$is_first { 1 1; default 0; }
    log_format connection "$$ssl_protocol $$ssl_session_reused";
    access_log $directory/connections.log connection if=$$is_first;
    log_format moment "$$msec";
    server {
        listen $host:$port $ssl;
        ssl_certificate $directory/server.pem;
        ssl_certificate_key $directory/server.pem;
        ssl_protocols TLSv1.2 TLSv1.3;
        location / { return 200; }
        location /logged/ { access_log $directory/moments.log moment; return 200; }
    }
}
""")


class Nginx(NamedTuple):
    """An nginx that answers every request with an empty 200. Requests below `/logged/` are logged."""

    directory: Path
    url: str

    @property
    def ca_file(self) -> Path:
        """The CA certificate that signed the server's certificate."""
        return self.directory / "ca.pem"

    @property
    def connections(self) -> list[str]:
        """A line for each connection since `forget`: the TLS protocol, and `r` if its session was resumed."""
        return (self.directory / "connections.log").read_text("utf-8").splitlines()

    @property
    def moments(self) -> list[float]:
        """When each logged request since `forget` was answered: seconds since 1970."""
        return list(map(float, (self.directory / "moments.log").read_text("utf-8").splitlines()))

    def forget(self) -> None:
        """Empties both logs. Safe while nginx runs, since it only appends."""
        for name in ("connections.log", "moments.log"):
            (self.directory / name).write_bytes(b"")


@contextlib.contextmanager
def nginx(directory: Path, *, tls: bool = False) -> Iterator[Nginx]:
    """Runs nginx during a block, in a directory that this creates."""
    directory.mkdir()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(directory / "server.pem")
    port = _free_port()
    configuration = directory / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.substitute(directory=directory, host=HOST, port=port, ssl="ssl" if tls else ""), "utf-8"
    )
    # Without -e, nginx first complains that it cannot write to /var/log.
    command = [program("nginx"), "-p", str(directory), "-c", str(configuration), "-e", str(directory / "error.log")]
    with (directory / "output.log").open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
    try:
        _wait_for("nginx", port, process, directory)
        yield Nginx(directory, f"{'https' if tls else 'http'}://{HOST}:{port}")
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def redis(directory: Path, *, durable: bool) -> Iterator[int]:
    """Runs Redis in a directory that this creates; yields its port. `durable` syncs every write; else as shipped."""
    command = [program("redis-server"), "--bind", HOST, "--dir", str(directory)]
    if durable:
        command += ["--appendonly", "yes", "--appendfsync", "always"]
    directory.mkdir()
    port = _free_port()
    with (directory / "output.log").open("wb") as said:
        process = subprocess.Popen([*command, "--port", str(port)], stdout=said, stderr=said)
    try:
        _wait_for("redis-server", port, process, directory)
        yield port
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def postgres(directory: Path) -> Iterator[str]:
    """Runs PostgreSQL, as shipped, in a directory that this creates; yields how to connect. Raises Absent."""
    # It refuses to run as root; Debian's package has made this user.
    user = "postgres" if os.geteuid() == 0 else None
    directory.mkdir()
    if user is not None:
        shutil.chown(directory, user)
    data, port = directory / "data", _free_port()
    with (directory / "output.log").open("wb") as said:
        made = [program("initdb"), "--pgdata", str(data), "--username", "peer", "--auth", "trust"]
        subprocess.run(made, stdout=said, stderr=said, check=True, user=user, cwd="/")
        command = [program("postgres"), "-D", str(data), "-p", str(port), "-k", "", "-h", HOST]
        process = subprocess.Popen(command, stdout=said, stderr=said, user=user, cwd="/")
    try:
        _wait_for("postgres", port, process, directory)
        yield f"host={HOST} port={port} user=peer dbname=postgres"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)


@contextlib.contextmanager
def slow(seconds: float) -> Iterator[str]:
    """Runs a server that answers each request after this many seconds; yields its URL."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(lambda: _Slow(loop, seconds), HOST, 0, backlog=512))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        server.close()
        loop.close()


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """A server that never answers: the kernel accepts connections and requests, and nothing reads them."""
    with socket.create_server((HOST, 0), backlog=1024) as listener:
        yield f"http://{HOST}:{listener.getsockname()[1]}"


class _Slow(asyncio.Protocol):
    _ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, _ = self._received.partition(b"\r\n\r\n")
        _, _, rest = head.lower().partition(b"content-length:")
        size = len(head) + len(blank) + int(rest.split(b"\r\n")[0] or b"0")
        if blank and len(self._received) >= size:
            self._received = self._received[size:]
            self._loop.call_later(self._seconds, self._transport.write, self._ANSWER)


def _free_port() -> int:
    """A free port on loopback."""
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


def _wait_for(name: str, port: int, process: subprocess.Popen[bytes], directory: Path) -> None:
    """Waits until the port is listened on. Raises RuntimeError with `output.log` if the process ends first."""
    until = time.monotonic() + 10
    while True:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                said = (directory / "output.log").read_text("utf-8", "replace")
                raise RuntimeError(f"{name} did not start: {said}") from None
            time.sleep(0.02)
        else:
            return

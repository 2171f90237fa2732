"""Which certificates TLS trusts: those of the destination, and none from the environment."""

import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

import arkcli
from arkcli.model import Answer, Delivery, Outcome
from arkcli.system.clock import SystemClock
from arkcli.wire.wire import Endpoint, Wire
from tests.hostile.rows import GOOD
from tests.hostile.servers import Handler, Hostile, Talk, answers, hostile
from tests.wire.test_wire import EVENT, endpoint
from tests.world import FakeClock, World

ROOT = Path(__file__).parent.parent.parent


def secure(authority: trustme.CA, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> tuple[Handler, list[bool]]:
    """A handler that answers over TLS, and records for each connection whether its session was resumed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = newest
    authority.issue_cert("127.0.0.1").configure_cert(context)
    resumed: list[bool] = []
    answer = answers(GOOD)

    def handle(talk: Talk) -> None:
        talk.secure(context)
        assert isinstance(talk.connection, ssl.SSLSocket)
        resumed.append(bool(talk.connection.session_reused))
        answer(talk)

    return handle, resumed


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return str(tmp_path / "ca.pem")


@pytest.fixture
def stranger(authority: trustme.CA) -> Iterator[Hostile]:
    """A server whose certificate is trusted by no setting."""
    with hostile(secure(authority)[0]) as server:
        yield server


def in_turn(*targets: Endpoint) -> list[Answer]:
    """Makes one attempt after the other over the same wire, which trusts the system's certificates."""
    wire: Wire[int] = Wire("/etc/ssl/certs/ca-certificates.crt", SystemClock())
    found = []
    for number, target in enumerate(targets):
        wire.start(target, [(Delivery(EVENT, 1), number)])
        while wire.in_flight:
            found += [answer for _, answer in wire.wait(0.5)]
    wire.close()
    return found


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_trust_of_one_destination_is_not_anothers(
    authority: trustme.CA, ca_file: str, tmp_path: Path, newest: ssl.TLSVersion
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    handle, resumed = secure(authority, newest)
    with hostile(handle) as server:
        url = f"https://127.0.0.1:{server.port}/"
        trusting = endpoint(f"{url}a", ca_file=ca_file)
        found = in_turn(
            trusting, endpoint(f"{url}b"), endpoint(f"{url}c", ca_file=str(other)), endpoint(f"{url}d"), trusting
        )
        assert [request.line for _, request in server.requests] == ["POST /a HTTP/1.1"] * 2
    assert [one.outcome for one in found] == [Outcome.DELIVERED, *[Outcome.FAILED] * 3, Outcome.DELIVERED]
    assert {one.error for one in found if one.error} == {
        "the certificate does not verify: its issuer is not trusted, or the receiver does not send its intermediate "
        "certificate, which browsers fetch"
    }
    # Only the destination that trusts the certificate may resume a session.
    assert not any(resumed[1:4])


def test_a_ca_file_replaces_the_systems_authorities_and_is_not_added_to_them(ca_file: str, tmp_path: Path) -> None:
    """The CA file of the wire plays the part of the system's certificates."""
    public = trustme.CA()
    public.cert_pem.write_to_path(str(tmp_path / "system.pem"))
    with hostile(secure(public)[0]) as server:
        wire: Wire[int] = Wire(str(tmp_path / "system.pem"), SystemClock())
        url = f"https://127.0.0.1:{server.port}/"
        for number, target in enumerate((endpoint(url), endpoint(f"{url}b", ca_file=ca_file))):
            wire.start(target, [(Delivery(EVENT, 1), number)])
        found: dict[int, Answer] = {}
        while wire.in_flight:
            found.update(wire.wait(0.5))
        wire.close()
    assert [found[number].outcome for number in range(2)] == [Outcome.DELIVERED, Outcome.FAILED]


def _rewrite(path: Path, new: Path) -> None:
    path.write_bytes(new.read_bytes())


def _replace(path: Path, new: Path) -> None:
    shutil.copy(new, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def _repoint(path: Path, new: Path) -> None:
    """As Kubernetes does with mounted files."""
    path.unlink()
    path.symlink_to(new)


@pytest.mark.parametrize("change", [_rewrite, _replace, _repoint])
@pytest.mark.parametrize("whose", ["the destination's", "the system's"])
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_ca_file_that_changes_is_in_force_a_second_later(
    authority: trustme.CA, tmp_path: Path, newest: ssl.TLSVersion, whose: str, change: Callable[[Path, Path], None]
) -> None:
    """Also if a connection is kept and a session could be resumed."""
    right, wrong, ca_file = tmp_path / "right.pem", tmp_path / "wrong.pem", tmp_path / "in-use.pem"
    authority.cert_pem.write_to_path(str(right))
    trustme.CA().cert_pem.write_to_path(str(wrong))
    shutil.copy(wrong, ca_file)
    clock = FakeClock()
    is_its_own = whose == "the destination's"
    handle, resumed = secure(authority, newest)
    with hostile(handle) as server:
        wire: Wire[int] = Wire("/etc/ssl/certs/ca-certificates.crt" if is_its_own else str(ca_file), clock)
        target = endpoint(f"https://127.0.0.1:{server.port}/", ca_file=str(ca_file) if is_its_own else None)

        def attempt() -> Outcome:
            wire.start(target, [(Delivery(EVENT, 1), 0)])
            while True:
                for _, found in wire.wait(0.5):
                    return found.outcome

        for now in (right, wrong, right, wrong):
            assert [attempt(), attempt()] == [Outcome.DELIVERED if now is wrong else Outcome.FAILED] * 2
            change(ca_file, now)
            clock.advance(1)
        assert attempt() is Outcome.FAILED
        ca_file.unlink()
        clock.advance(1)
        assert attempt() is Outcome.FAILED
        shutil.copy(right, ca_file)
        clock.advance(1)
        assert attempt() is Outcome.DELIVERED
        wire.close()
    assert len(server.requests) == 5
    assert not any(resumed)


def test_an_attempt_under_way_while_the_ca_file_changes_leaves_nothing_to_those_after_it(
    authority: trustme.CA, ca_file: str, tmp_path: Path
) -> None:
    go_on = threading.Event()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def handle(talk: Talk) -> None:
        talk.secure(context)
        while talk.read() is not None:
            go_on.wait(5)
            talk.say(GOOD)

    clock = FakeClock()
    with hostile(handle) as server:
        wire: Wire[int] = Wire("", clock)
        target = endpoint(f"https://127.0.0.1:{server.port}/", ca_file=ca_file)
        wire.start(target, [(Delivery(EVENT, 1), 1)])
        while not server.requests:
            assert wire.wait(0.1) == []
        trustme.CA().cert_pem.write_to_path(ca_file)
        clock.advance(1)
        wire.start(target, [(Delivery(EVENT, 1), 2)])
        go_on.set()
        found: dict[int, Answer] = {}
        while wire.in_flight:
            found.update(wire.wait(0.5))
        wire.start(target, [(Delivery(EVENT, 1), 3)])
        while wire.in_flight:
            found.update(wire.wait(0.5))
        wire.close()
    assert [found[number].outcome for number in (1, 2, 3)] == [Outcome.DELIVERED, Outcome.FAILED, Outcome.FAILED]


def test_nothing_in_the_code_turns_verification_off() -> None:
    off = re.compile(
        r"(VERIFY(PEER|HOST|STATUS)\W+0|CERT_NONE|check_hostname\s*=\s*False|verify\s*=\s*False|(?<!\"--)insecure)"
    )
    found = [path for path in Path(arkcli.__file__).parent.rglob("*.py") if off.search(path.read_text())]
    assert found == []


@pytest.mark.parametrize("command", [("dest", "add"), ("dest", "set"), ("send",), ("drain",), ("ping",)])
def test_no_option_turns_verification_off(world: World, command: tuple[str, ...]) -> None:
    shown = world.ark(*command, "--help").out
    assert "--json" in shown
    assert not re.search(r"--(insecure|no-verify|skip|trust|no-check)", shown)


@pytest.fixture
def hashed(authority: trustme.CA, tmp_path: Path) -> Path:
    """A directory of certificates with the file names that OpenSSL expects."""
    directory = tmp_path / "hashed"
    directory.mkdir()
    pem = directory / "ca.pem"
    authority.cert_pem.write_to_path(str(pem))
    if shutil.which("openssl") is None:
        return directory
    said = subprocess.run(["openssl", "x509", "-hash", "-noout", "-in", str(pem)], capture_output=True, check=False)
    (directory / f"{said.stdout.decode().strip()}.0").symlink_to(pem)
    return directory


def test_nothing_in_the_environment_opens_what_does_not_verify(
    stranger: Hostile, ca_file: str, hashed: Path, tmp_path: Path
) -> None:
    world = World(tmp_path / "home")
    url = f"https://127.0.0.1:{stranger.port}/hook"
    system = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
    assert world.ark("dest", "add", url, "--allow-local", "--no-ping", "--ca-file", system).status == 0
    home = tmp_path / "user"
    home.mkdir()
    for name in (".curlrc", ".config/curlrc"):
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text("insecure\nlocation\n")
    (home / ".netrc").write_text("machine 127.0.0.1 login me password open-sesame\n")
    configuration = tmp_path / "openssl.cnf"
    configuration.write_text("openssl_conf=a\n[a]\nssl_conf=b\n[b]\nsystem_default=c\n[c]\nVerifyMode=None\n")
    with hostile(lambda talk: None) as proxy:
        through = f"http://127.0.0.1:{proxy.port}"
        tricks = [
            {"CURL_CA_BUNDLE": ca_file},
            {"SSL_CERT_FILE": ca_file},
            {"SSL_CERT_FILE": str(tmp_path / "nowhere.pem")},
            {"SSL_CERT_DIR": str(hashed)},
            {"REQUESTS_CA_BUNDLE": ca_file},
            {"CURL_SSL_BACKEND": "none"},
            {"OPENSSL_CONF": str(configuration)},
            {"CURL_HOME": str(home), "HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")},
            {"PYTHONHTTPSVERIFY": "0", "NODE_TLS_REJECT_UNAUTHORIZED": "0", "GIT_SSL_NO_VERIFY": "1"},
            dict.fromkeys(
                ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "HTTP_PROXY"), through
            ),
        ]
        pings = [
            subprocess.Popen(
                [sys.executable, "-m", "arkcli", "ping", "--json"],
                cwd=ROOT,
                env={**os.environ, **world.variables, **trick},
                stdout=subprocess.PIPE,
                text=True,
            )
            for trick in tricks
        ]
        for trick, ping in zip(tricks, pings, strict=True):
            out, _ = ping.communicate(timeout=60)
            assert ping.returncode == 1, trick
            assert "the certificate does not verify: its issuer is not trusted" in out, trick
        assert proxy.connections == 0
    assert stranger.requests == []


def test_certificates_to_trust_that_cannot_be_read_open_nothing(stranger: Hostile, tmp_path: Path) -> None:
    world = World(tmp_path / "home")
    world.variables["SSL_CERT_FILE"] = str(tmp_path / "nowhere.pem")
    url = f"https://127.0.0.1:{stranger.port}/hook"
    said = world.ark("dest", "add", url, "--allow-local")
    assert said.status == 1
    assert "the CA file cannot be used" in said.err
    assert stranger.requests == []

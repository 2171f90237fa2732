"""Proxies and client certificates as a user sets them: `dest add`, `dest set`, `[network] proxy`, and every command
that follows them.
"""

import os
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.hostile.servers import Hostile, hostile, says
from tests.proxies import Where, socks, tunnels
from tests.wire.test_identity import Client, asking
from tests.world import PAYLOAD, Certificates, Result, TestReceiver, World, receiver

CONNECTS = "; ark can check only the proxy's own address"


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path)


@pytest.fixture
def asked() -> list[Where]:
    return []


@pytest.fixture
def proxy(asked: list[Where]) -> Iterator[Hostile]:
    with hostile(tunnels(asked)) as server:
        yield server


@pytest.fixture
def crm() -> Iterator[TestReceiver]:
    with receiver(200) as server:
        yield server


def through(server: Hostile, login: str = "", scheme: str = "http") -> str:
    return f"{scheme}://{login}127.0.0.1:{server.port}"


def add(world: World, server: TestReceiver, *options: str) -> Result:
    return world.ark("dest", "add", server.url, "--allow-local", "--name", "crm", *options)


def network(world: World, proxy: str) -> None:
    """Writes `[network] proxy`, as a user does by hand."""
    world.store_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = world.store_file.read_text() if world.store_file.exists() else "version = 1\n"
    world.store_file.touch(0o600)
    world.store_file.write_text(f'{before}\n# The way out.\n[network]\nproxy = "{proxy}" # ours\n')


class TestOneDestination:
    """`--proxy`."""

    def test_its_ping_and_its_events_go_through_it(
        self, world: World, crm: TestReceiver, proxy: Hostile, asked: list[Where]
    ) -> None:
        added = add(world, crm, "--proxy", through(proxy))
        assert added.status == 0
        said = f"crm is reached through the proxy {through(proxy)}, which looks up the host and connects to it"
        assert f"{said}{CONNECTS}" in added.err
        assert world.ark("send", "signal.promoted", stdin=PAYLOAD).status == 0
        assert world.ark("send", "signal.promoted", "--queue", stdin=PAYLOAD).status == 0
        assert world.ark("drain").status == 0
        assert world.ark("ping").status == 0
        assert asked == [("127.0.0.1", crm.port)] * 4
        assert len(crm.requests) == 4

    def test_the_environment_exempts_nothing(
        self, world: World, crm: TestReceiver, proxy: Hostile, asked: list[Where], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """libcurl itself would look at these."""
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("no_proxy", "*")
        assert add(world, crm, "--proxy", through(proxy)).status == 0
        assert len(asked) == 1

    def test_what_socks5_is_sent_is_checked_so_nothing_is_said_of_it(self, world: World, crm: TestReceiver) -> None:
        with hostile(socks()) as proxy:
            added = add(world, crm, "--proxy", through(proxy, scheme="socks5"))
        assert "crm is reached through the proxy socks5://127.0.0.1" in added.err
        assert CONNECTS not in added.err

    def test_its_password_is_nowhere_to_be_seen(self, world: World, crm: TestReceiver, proxy: Hostile) -> None:
        add(world, crm, "--proxy", through(proxy, "me:s3cr3t@"))
        shown = through(proxy, "***@")
        assert world.ark("dest", "show", "crm", "--json").json["destination"]["proxy"] == shown
        assert shown in world.ark("dest", "show", "crm").out
        assert world.ark("dest", "list", "--json").json["destinations"][0]["proxy"] == shown
        assert proxy.requests[0][1].headers["proxy-authorization"] == "Basic bWU6czNjcjN0"

    def test_it_may_be_in_the_environment_or_in_a_file(
        self, world: World, crm: TestReceiver, proxy: Hostile, tmp_path: Path
    ) -> None:
        (tmp_path / "proxy").write_text(through(proxy, "me:s3cr3t@") + "\n")
        world.variables["OUR_PROXY"] = through(proxy, "you:s3cr3t@")
        add(world, crm, "--proxy", f"file:{tmp_path}/proxy")
        assert world.ark("dest", "set", "crm", "--proxy", "env:OUR_PROXY").status == 0
        assert world.ark("dest", "show", "crm", "--json").json["destination"]["proxy"] == "env:OUR_PROXY"
        assert len({request.headers["proxy-authorization"] for _, request in proxy.requests}) == 2
        del world.variables["OUR_PROXY"]
        missing = world.ark("ping")
        assert "the proxy of crm is env:OUR_PROXY, but OUR_PROXY is not in the environment" in missing.err
        drained = world.ark("drain")
        assert "crm is left out: the proxy of crm is env:OUR_PROXY" in drained.err
        absent = world.ark("dest", "set", "crm", "--proxy", f"file:{tmp_path}/none")
        assert f"the proxy of crm: the proxy file {tmp_path}/none cannot be read" in absent.err
        (tmp_path / "none").touch()
        empty = world.ark("dest", "set", "crm", "--proxy", f"file:{tmp_path}/none")
        assert f"the proxy of crm: the proxy file {tmp_path}/none is empty; write the proxy into it" in empty.err

    def test_it_is_taken_away_again_and_the_destination_is_pinged(
        self, world: World, crm: TestReceiver, proxy: Hostile, asked: list[Where]
    ) -> None:
        add(world, crm, "--proxy", through(proxy))
        changed = world.ark("dest", "set", "crm", "--no-proxy", "--json")
        assert changed.json["destination"]["proxy"] is None
        assert (len(asked), len(crm.requests)) == (1, 2)

    @pytest.mark.parametrize(
        "proxy", ["", "proxy:3128", "http://proxy", "ftp://proxy:21", "http://proxy:1/path", "http://", "socks4://p:1"]
    )
    def test_what_is_no_proxy_is_refused(self, world: World, crm: TestReceiver, proxy: str) -> None:
        refused = add(world, crm, "--proxy", proxy)
        assert refused.status == 2
        assert "proxy" in refused.err
        assert crm.connections == 0

    def test_a_proxy_that_refuses_is_named_with_what_to_do(self, world: World, crm: TestReceiver) -> None:
        with hostile(says(b"HTTP/1.1 407 No\r\n\r\n")) as proxy:
            refused = add(world, crm, "--proxy", through(proxy))
        assert refused.status == 1
        assert "the proxy answered 407: it wants a user name and password" in refused.err
        assert "Put user name and password into the proxy's URL" in refused.err


class TestAllDestinations:
    """`[network] proxy`."""

    def test_every_command_that_sends_goes_through_it(
        self, world: World, crm: TestReceiver, proxy: Hostile, asked: list[Where], tmp_path: Path
    ) -> None:
        network(world, through(proxy))
        assert CONNECTS in add(world, crm).err
        (tmp_path / "secret").write_text("s3cret")
        secret = ("--allow-local", "--secret-file", f"{tmp_path}/secret")
        for command in (
            ("send", "signal.promoted", "--sample"),
            ("ping",),
            ("secret", "rotate", "--probe", "--yes"),
            ("send", "ping", "--url", crm.url, *secret),
        ):
            before = len(asked)
            assert world.ark(*command).status == 0, command
            assert len(asked) == before + 1, command
        assert world.ark("check", crm.url, *secret).status == 1
        assert world.ark("doctor").status == 0
        assert crm.connections <= len(asked)

    def test_its_line_and_comment_stay_when_destinations_change(
        self, world: World, crm: TestReceiver, proxy: Hostile
    ) -> None:
        add(world, crm)
        network(world, through(proxy))
        kept = world.store_file.read_text().partition("# The way out.")[2]
        world.ark("dest", "set", "crm", "--description", "Sales")
        world.ark("dest", "add", crm.url + "/2", "--allow-local", "--name", "two")
        world.ark("dest", "remove", "crm", "--yes")
        assert kept in world.store_file.read_text()

    def test_none_exempts_a_destination(
        self, world: World, crm: TestReceiver, proxy: Hostile, asked: list[Where]
    ) -> None:
        network(world, through(proxy))
        added = add(world, crm, "--proxy", "none")
        assert (added.status, asked) == (0, [])
        assert "proxy" not in added.err
        assert world.ark("dest", "show", "crm", "--json").json["destination"]["proxy"] == "none"

    def test_show_says_where_it_comes_from(self, world: World, crm: TestReceiver, proxy: Hostile) -> None:
        network(world, through(proxy, "me:s3cr3t@"))
        add(world, crm)
        assert f"{through(proxy, '***@')} ([network] proxy)" in world.ark("dest", "show", "crm").out
        settings = {found["name"]: found for found in world.ark("config", "show", "--json").json["settings"]}
        assert settings["network.proxy"]["value"] == through(proxy, "***@")
        assert settings["network.proxy"]["source"] == str(world.store_file)

    def test_one_that_cannot_be_used_is_told_by_doctor(self, world: World, crm: TestReceiver) -> None:
        add(world, crm)
        network(world, "http://me:s3cr3t@proxy")
        checks = {check["name"]: check for check in world.ark("doctor", "--json").json["checks"]}
        assert checks["proxy"]["status"] == "fail"
        assert checks["proxy"]["message"].startswith("crm: [network] proxy: 'http://***@proxy' is not a proxy")


def test_a_proxy_in_the_environment_is_told_of_and_not_used(world: World, crm: TestReceiver, proxy: Hostile) -> None:
    world.variables["HTTPS_PROXY"] = world.variables["ALL_PROXY"] = through(proxy)
    assert add(world, crm).status == 0
    checks = {check["name"]: check for check in world.ark("doctor", "--json").json["checks"]}
    said = "HTTPS_PROXY is set, but `ark` does not use it; [network] proxy or --proxy does"
    assert (checks["proxy"]["status"], checks["proxy"]["message"]) == ("pass", said)
    assert proxy.connections == 0


class TestClientCertificates:
    """`--client-cert` and `--client-key`."""

    def test_a_receiver_that_requires_one_is_added_sent_to_and_changed(
        self, world: World, certificates: Certificates, client: Client
    ) -> None:
        with asking(certificates, client) as (server, seen, _):
            url = f"https://127.0.0.1:{server.port}/hook"
            trusted = ("--allow-local", "--name", "crm", "--ca-file", certificates.ca_file)
            without = world.ark("dest", "add", url, *trusted)
            assert without.status == 1
            assert "--client-cert FILE --client-key FILE" in without.err or "may require a client" in without.err
            files = ("--client-cert", str(client.certificate), "--client-key", str(client.key))
            added = world.ark("dest", "add", url, *trusted, *files, "--json")
            assert (added.status, added.json["destination"]["client_key"]) == (0, str(client.key))
            assert world.ark("send", "signal.promoted", stdin=PAYLOAD).status == 0
            assert world.ark("dest", "set", "crm", "--no-client-cert").status == 1
            taken = world.ark("dest", "set", "crm", "--no-client-cert", "--no-ping", "--json")
            assert taken.json["destination"]["client_cert"] is taken.json["destination"]["client_key"] is None
        assert seen == ["ann@example.com"] * 2

    def test_files_are_checked_when_they_are_given(self, world: World, crm: TestReceiver, client: Client) -> None:
        alone = add(world, crm, "--client-cert", str(client.certificate))
        assert (alone.status, alone.err.count("--client-cert and --client-key need each other; give both")) == (2, 1)
        client.key.chmod(0o644)
        loose = add(world, crm, "--client-cert", str(client.certificate), "--client-key", str(client.key))
        assert loose.status == 2
        assert "run `chmod 600 " in loose.err
        client.key.chmod(0o600)
        plain = add(world, crm, "--client-cert", str(client.certificate), "--client-key", str(client.key))
        assert (plain.status, plain.err.count("a client certificate needs a receiver with https; leave it out")) == (
            2,
            1,
        )
        assert crm.connections == 0

    def test_one_that_vanishes_fails_its_own_destination_alone(
        self, world: World, crm: TestReceiver, certificates: Certificates, client: Client
    ) -> None:
        add(world, crm)
        with asking(certificates, client) as (server, _, __):
            url = f"https://127.0.0.1:{server.port}/hook"
            files = ("--client-cert", str(client.certificate), "--client-key", str(client.key))
            world.ark("dest", "add", url, "--allow-local", "--name", "mtls", "--ca-file", certificates.ca_file, *files)
            client.key.unlink()
            sent = world.ark("send", "signal.promoted", "--json", stdin=PAYLOAD)
        said = {one["destination"]: one["error"] for one in sent.json["deliveries"]}
        assert sent.status == 75
        assert said == {"crm": None, "mtls": f"the client key {client.key} cannot be read: No such file or directory"}

    @pytest.mark.parametrize(("days", "status"), [(60, "pass"), (5, "warn")])
    def test_doctor_warns_before_one_expires(
        self, world: World, certificates: Certificates, client: Client, days: int, status: str
    ) -> None:
        world.clock.milliseconds = time.time_ns() // 1_000_000
        until = datetime.now(UTC) + timedelta(days=days, minutes=5)
        client.issue("ann@example.com", until=until)
        with asking(certificates, client, ssl.TLSVersion.TLSv1_2) as (server, _, __):
            files = ("--client-cert", str(client.certificate), "--client-key", str(client.key))
            url = f"https://127.0.0.1:{server.port}/hook"
            world.ark("dest", "add", url, "--allow-local", "--name", "crm", "--ca-file", certificates.ca_file, *files)
            checks = {check["name"]: check for check in world.ark("doctor", "--json").json["checks"]}
        found = checks["client certificate crm"]
        assert found["status"] == status
        assert f"is valid until {until:%Y-%m-%d}" in found["message"]
        assert checks["destination crm"]["status"] != "fail"


def test_what_is_given_and_taken_away_at_once_is_refused(world: World, crm: TestReceiver) -> None:
    add(world, crm, "--header", "X-One: 1", "--header", "X-Two: 2")
    both = world.ark("dest", "set", "crm", "--proxy", "none", "--no-proxy")
    assert (both.status, both.err.count("--proxy and --no-proxy do not go together")) == (2, 1)


def test_headers_and_a_ca_file_are_taken_away_too(world: World, crm: TestReceiver, certificates: Certificates) -> None:
    add(world, crm, "--header", "X-One: 1", "--header", "X-Two: 2", "--ca-file", certificates.ca_file)
    assert world.ark("dest", "set", "crm", "--no-header", "x-one", "--no-ca-file").status == 0
    text = world.store_file.read_text()
    assert ("X-One" in text, "X-Two" in text, "ca_file" in text) == (False, True, False)
    missing = world.ark("dest", "set", "crm", "--no-header", "X-One")
    assert (missing.status, missing.err.count("crm has no header 'X-One'")) == (2, 1)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("login", ["", "me:s3cr3t@"])
def test_the_printed_curl_command_goes_the_same_way(
    world: World, certificates: Certificates, client: Client, proxy: Hostile, asked: list[Where], login: str
) -> None:
    with asking(certificates, client) as (server, seen, _):
        url = f"https://127.0.0.1:{server.port}/hook"
        files = ("--client-cert", str(client.certificate), "--client-key", str(client.key))
        trusted = ("--allow-local", "--name", "crm", "--ca-file", certificates.ca_file)
        world.ark("dest", "add", url, *trusted, *files, "--proxy", through(proxy, login))
        command = world.ark("send", "signal.promoted", "--curl", stdin=PAYLOAD).out
        assert "s3cr3t" not in command
        variables = {"ARK_SECRET": "s", "ARK_PROXY": through(proxy, login), "NO_PROXY": "127.0.0.1"}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, **variables}
        done = subprocess.run(["sh"], input=command.encode(), env=environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    assert seen == ["ann@example.com"] * 2
    assert asked == [("127.0.0.1", server.port)] * 2
    assert ("proxy-authorization" in proxy.requests[1][1].headers) == bool(login)

"""`ark dest`: a destination is saved only if its receiver has answered a ping."""

import base64
import json
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from arkcli.signing import sign
from tests.world import Certificates, Request, TestReceiver, World, answer, hang, receiver, then_close

Receive = Callable[..., TestReceiver]


def add(world: World, url: str, *options: str) -> tuple[int, str]:
    result = world.ark("dest", "add", url, "--allow-local", *options)
    return result.status, result.err


def test_a_2xx_saves_it_after_exactly_one_signed_ping(world: World, receive: Receive) -> None:
    server = receive(204)
    result = world.ark("dest", "add", server.url, "--allow-local", "--name", "crm", "--json")

    assert result.status == 0
    assert result.json["destination"]["name"] == "crm"
    assert result.json["ping"]["outcome"] == "delivered"
    assert result.json["ping"]["status"] == 204
    (request,) = server.requests
    assert request.headers["x-signalark-event"] == "ping"
    assert request.attempt == 1
    assert json.loads(request.body).keys() == {"event", "timestamp"}
    assert [found["name"] for found in world.ark("dest", "list", "--json").json["destinations"]] == ["crm"]


def test_openssl_reproduces_the_signature_of_the_ping(world: World, receive: Receive) -> None:
    server = receive(200)
    add(world, server.url)
    secret = world.ark("secret", "show", "--reveal", "--json").json["secret"]
    command = ["openssl", "dgst", "-sha256", "-hmac", secret]
    printed = subprocess.run(command, input=server.requests[0].body, capture_output=True, check=True).stdout
    assert printed.split()[-1].decode() == server.requests[0].signature


@contextmanager
def refusing() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    yield f"http://127.0.0.1:{port}/"


def test_what_the_endpoint_says_against_the_ping_is_shown_unless_it_is_a_page(world: World, receive: Receive) -> None:
    told = [
        add(world, receive(lambda _, said=body: answer(500, said)).url)[1]
        for body in (b'{"no":\n "account"}', b"<html>Oops</html>")
    ]
    assert 'not a 2xx (it said: {"no": "account"}). The receiver' in told[0]
    assert "not a 2xx. The receiver" in told[1]


@pytest.mark.parametrize(
    ("behave", "why", "helps"),
    [
        (500, "answered 500", "The receiver's application failed; see its log"),
        (404, "answered 404", "Check the path of the URL: the server has nothing there"),
        (422, "answered 422", "The receiver is reachable but must answer a POST with a 2xx"),
        (302, "ark does not follow redirects", "Use the URL that it redirects to"),
        (then_close(), "closed without an answer", "If the receiver expects https, write https://"),
        (hang, "no answer within 10 s", "Let the receiver answer within 10 s"),
    ],
    ids=["500", "404", "422", "redirect", "closed", "hanging"],
)
def test_an_endpoint_that_does_not_answer_with_a_2xx_is_not_saved(
    world: World, receive: Receive, behave: object, why: str, helps: str
) -> None:
    status, err = add(world, receive(behave).url)
    assert status == 1
    assert err.count("\n") == 1
    assert why in err
    assert "nothing was saved" in err
    assert f". {helps}" in err
    assert not world.home.exists()


def test_an_endpoint_that_refuses_is_not_saved(world: World) -> None:
    with refusing() as url:
        status, err = add(world, url)
    assert status == 1
    assert "connection refused" in err
    assert not world.home.exists()


def test_an_endpoint_whose_certificate_does_not_verify_is_not_saved(world: World, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    with receiver(200, certificates.wrapping("127.0.0.1")) as server:
        status, err = add(world, server.url)
        assert status == 1
        assert "the certificate does not verify" in err
        assert "pass that authority's certificate with --ca-file; nothing was saved" in err
        assert not world.home.exists()
        assert server.requests == []
        assert add(world, server.url, "--ca-file", certificates.ca_file)[0] == 0


def test_a_receiver_over_tls_that_hangs_up_may_want_a_client_certificate(world: World, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    with receiver(then_close(), certificates.wrapping("127.0.0.1")) as server:
        status, err = add(world, server.url, "--ca-file", certificates.ca_file)
    assert status == 1
    assert "The receiver may require a client certificate (mTLS)" in err


def test_a_proxy_that_is_set_and_not_used_is_told_of(world: World) -> None:
    world.variables["https_proxy"] = "http://127.0.0.1:3128"
    url = "https://no-such-host.invalid/"
    said = "https_proxy is set, but `ark` does not use it; --proxy or [network] proxy does"
    assert f"; {said}; nothing was saved" in add(world, url)[1]
    world.ark("dest", "add", url, "--name", "away", "--no-ping")
    assert world.ark("ping").err == f"{said}\n"
    assert world.ark("ping", "--json").err == ""
    hints = [check["hint"] for check in world.ark("doctor", "--json").json["checks"] if check["hint"]]
    assert any(hint.endswith(f"; {said}") for hint in hints)


def test_a_failed_ping_is_one_json_object_on_standard_output(world: World, receive: Receive) -> None:
    result = world.ark("dest", "add", receive(500).url, "--allow-local", "--json")
    assert (result.status, result.err) == (1, "")
    assert result.json["error"].keys() == {"code", "message"}


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "example.com",
        "https://",
        "https://me%3A:pw@example.com/",
        "https://me:p%0Aw@example.com/",
        "https://a b/",
    ],
)
def test_a_url_that_cannot_be_a_destination_is_bad_input(world: World, url: str) -> None:
    result = world.ark("dest", "add", url)
    assert result.status == 2
    assert not world.home.exists()


def test_a_private_address_is_refused_without_allow_local(world: World, receive: Receive) -> None:
    server = receive(200)
    result = world.ark("dest", "add", f"https://127.0.0.1:{server.port}/")
    assert result.status == 1
    assert "--allow-local" in result.err
    assert server.connections == 0


def test_no_ping_saves_without_asking(world: World, receive: Receive) -> None:
    server = receive(500)
    result = world.ark("dest", "add", server.url, "--allow-local", "--no-ping", "--json")
    assert result.status == 0
    assert result.json["ping"] is None
    assert server.connections == 0


def test_the_first_one_makes_the_signing_secret_and_says_where_it_is(world: World, receive: Receive) -> None:
    first = world.ark("dest", "add", receive(200).url, "--allow-local")
    second = world.ark("dest", "add", receive(200).url, "--allow-local", "--name", "two")
    assert str(world.store_file) in first.err
    assert "secret" not in second.err
    secret = world.ark("secret", "show", "--reveal", "--json").json["secret"]
    assert secret not in first.out + first.err
    assert secret in world.store_file.read_text()


def test_the_store_is_for_its_user_alone(world: World, receive: Receive) -> None:
    add(world, receive(200).url)
    assert stat.S_IMODE(world.store_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(world.store_file.parent.stat().st_mode) == 0o700
    for path in world.queue_directory.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_the_same_url_twice_is_refused_naming_the_one_that_has_it(world: World, receive: Receive) -> None:
    server = receive(200)
    add(world, server.url, "--name", "crm")
    status, err = add(world, server.url)
    assert status == 2
    assert "crm" in err
    assert len(server.requests) == 1


def test_a_taken_name_is_refused_and_a_made_up_one_gets_a_number(world: World, receive: Receive) -> None:
    add(world, receive(200).url, "--name", "crm")
    assert add(world, receive(200).url, "--name", "crm")[0] == 2
    assert add(world, receive(200).url)[0] == 0
    assert add(world, receive(200).url)[0] == 0
    names = [found["name"] for found in world.ark("dest", "list", "--json").json["destinations"]]
    assert names == ["crm", "127.0.0.1", "127.0.0.1-2"]


def test_a_made_up_name_is_never_too_long_whatever_its_number(world: World) -> None:
    host = f"{'h' * 60}.{'i' * 60}.example"
    for number in range(12):
        assert world.ark("dest", "add", f"https://{host}/{number}", "--no-ping").status == 0
    names = [found["name"] for found in world.ark("dest", "list", "--json").json["destinations"]]
    assert len(set(names)) == 12
    assert {len(name) for name in names} == {64}
    assert [name[-3:] for name in names[8:]] == ["i-9", "-10", "-11", "-12"]


@pytest.mark.parametrize("name", ["", "A", "-a", ".a", "a b", "ä", "a" * 65, "a/b"])
def test_a_bad_name_is_bad_input(world: World, receive: Receive, name: str) -> None:
    result = world.ark("dest", "add", receive(200).url, "--allow-local", f"--name={name}")
    assert result.status == 2
    assert "name" in result.err


def test_an_own_secret_signs_for_this_destination_alone(world: World, receive: Receive) -> None:
    one, two, three = receive(200), receive(200), receive(200)
    secret_file = world.home.parent / "secret.txt"
    secret_file.write_text("mine\n")
    add(world, one.url, "--name", "one")
    add(world, two.url, "--name", "two", "--secret-file", str(secret_file))
    add(world, three.url, "--name", "three", "--own-secret")
    workspace = world.ark("secret", "show", "--reveal", "--json").json["secret"]

    def signed_with(server: TestReceiver, secret: str) -> bool:
        request = server.requests[0]
        arguments = ("verify", "--secret", secret, "--signature", request.signature)
        return world.ark(*arguments, stdin=request.body).status == 0

    assert [signed_with(server, workspace) for server in (one, two, three)] == [True, False, False]
    assert signed_with(two, "mine")


def test_a_header_is_sent_along_and_its_value_is_never_shown(world: World, receive: Receive) -> None:
    server = receive(200)
    add(world, server.url, "--name", "crm", "--header", "Authorization: Bearer hunter2")
    assert server.requests[0].headers["authorization"] == "Bearer hunter2"
    for command in (("dest", "list"), ("dest", "show", "crm"), ("dest", "show", "crm", "--json")):
        assert "hunter2" not in world.ark(*command).out


@pytest.mark.parametrize(
    "header",
    [
        "Host: x",
        "content-length: 1",
        "Transfer-Encoding: chunked",
        "Connection: close",
        "X-SignalArk-Signature: 1",
        "x-signalark-anything: 1",
        "Content-Type: text/plain",
        "User-Agent: me",
        "no colon",
        "Bad Name: x",
        ": x",
        "X: a\r\nY: b",
        "X: a\x00b",
        "X: ü",
    ],
)
def test_a_reserved_or_broken_header_is_bad_input(world: World, receive: Receive, header: str) -> None:
    server = receive(200)
    assert add(world, server.url, "--header", header)[0] == 2
    assert server.connections == 0


def test_show_list_and_set(world: World, receive: Receive) -> None:
    server, moved = receive(200), receive(200)
    add(world, server.url, "--name", "crm", "--description", "Sales")
    shown = world.ark("dest", "show", "crm", "--json").json["destination"]
    assert shown.keys() == {
        "id", "name", "url", "paused", "allow_local", "standard_webhooks", "description", "added_at",
        "client_cert", "client_key", "proxy", "rate", "max_in_flight", "pause_note",
        "waiting", "retrying", "dead", "last",
    }  # fmt: skip
    assert shown["description"] == "Sales"
    assert shown["last"] is None
    changed = world.ark("dest", "set", "crm", "--name", "sales", "--url", moved.url, "--description", "", "--json")
    assert changed.json["destination"]["name"] == "sales"
    assert changed.json["destination"]["url"] == moved.url
    assert changed.json["destination"]["description"] is None
    assert [request.headers["x-signalark-event"] for request in moved.requests] == ["ping"]
    assert world.ark("dest", "show", shown["id"], "--json").json["destination"]["name"] == "sales"


def test_a_new_url_that_fails_its_ping_changes_nothing(world: World, receive: Receive) -> None:
    server = receive(200)
    add(world, server.url, "--name", "crm")
    before = world.store_file.read_bytes()
    result = world.ark("dest", "set", "crm", "--url", receive(500).url)
    assert result.status == 1
    assert "nothing was changed" in result.err
    assert world.store_file.read_bytes() == before


def test_a_paused_destination_waits_and_a_resumed_one_goes_on(world: World, receive: Receive) -> None:
    server = receive(200)
    world.add(server, "crm")
    assert world.ark("dest", "pause", "crm", "--json").json["destination"]["paused"] is True
    sent = world.ark("send", "signal.promoted", "--sample", "--json")
    assert (sent.status, sent.json["deliveries"][0]["outcome"]) == (0, "waiting")
    assert world.ark("drain", "--json").json["attempted"] == 0
    assert world.ark("dest", "show", "crm", "--json").json["destination"]["waiting"] == 1
    world.ark("dest", "resume", "crm")
    assert world.ark("drain", "--json").json["delivered"] == 1


def test_a_destination_added_later_gets_only_what_comes_later(world: World, receive: Receive) -> None:
    early, late = receive(200), receive(200)
    world.add(early, "early")
    world.ark("send", "signal.promoted", "--sample", "--queue")
    world.add(late, "late")
    world.ark("send", "signal.promoted", "--sample", "--queue")
    world.ark("drain")
    assert (len(early.requests), len(late.requests)) == (2, 1)


def test_removing_asks_when_something_waits_and_gives_it_up(world: World, receive: Receive) -> None:
    server, other = receive(500), receive(200)
    world.add(server, "crm")
    world.add(other, "other")
    for _ in range(3):
        world.ark("send", "signal.promoted", "--sample")
    asked = world.ark("dest", "remove", "crm")
    assert asked.status == 2
    assert "--yes" in asked.err
    removed = world.ark("dest", "remove", "crm", "--yes", "--json")
    assert removed.json["dropped"] == 3
    assert removed.json["removed"].startswith("dst_")
    assert [found["name"] for found in world.ark("dest", "list", "--json").json["destinations"]] == ["other"]
    assert world.ark("dest", "remove", "other", "--json").json["dropped"] == 0


@pytest.mark.parametrize("command", ["show", "pause", "resume", "remove", "set"])
def test_an_unknown_name_is_bad_input_and_a_near_one_is_suggested(world: World, receive: Receive, command: str) -> None:
    world.add(receive(200), "analytics")
    result = world.ark("dest", command, "analitics")
    assert result.status == 2
    assert "Did you mean 'analytics'?" in result.err


def test_what_an_endpoint_answers_cannot_drive_the_terminal(world: World, receive: Receive) -> None:
    def behave(_: Request) -> bytes:
        return answer(500, b"\x1b]0;owned\x07")

    server = receive(behave)
    world.add(server, "crm")
    for command in (("ping",), ("send", "signal.promoted", "--sample"), ("dest", "list"), ("dest", "show", "crm")):
        result = world.ark(*command)
        assert "\x1b" not in result.out + result.err


def with_user(server: TestReceiver, user: str) -> str:
    return server.url.replace("http://", f"http://{user}@")


def test_a_user_name_in_a_url_is_sent_kept_apart_and_never_shown(world: World, receive: Receive) -> None:
    server = receive(200)
    added = world.ark("dest", "add", with_user(server, "me:p%40ss%20w%C3%B6rd"), "--allow-local", "--name", "crm")
    assert added.status == 0
    sent = "Basic " + base64.b64encode("me:p@ss wörd".encode()).decode()
    assert server.requests[-1].headers["authorization"] == sent
    assert world.ark("dest", "show", "crm", "--json").json["destination"]["url"] == server.url
    for command in (["dest", "list"], ["dest", "show", "crm"], ["ping"], ["send", "signal.promoted", "--sample"]):
        for said in (world.ark(*command), world.ark(*command, "--json")):
            assert "p@ss" not in said.out + said.err
            assert "p%40ss" not in said.out + said.err
    assert server.requests[-1].headers["authorization"] == sent
    assert world.ark("dest", "add", server.url, "--allow-local").status == 2, "it is there already"


def test_a_new_url_takes_its_own_user_name_and_leaves_the_old_one_behind(world: World, receive: Receive) -> None:
    server, other = receive(200), receive(200)
    world.ark("dest", "add", with_user(server, "me:pw"), "--allow-local", "--name", "crm")
    assert world.ark("dest", "set", "crm", "--url", other.url).status == 0
    assert "authorization" not in other.requests[-1].headers
    assert world.ark("dest", "set", "crm", "--url", with_user(other, "you")).status == 0
    assert other.requests[-1].headers["authorization"] == "Basic " + base64.b64encode(b"you").decode()


def test_a_user_name_and_an_authorization_header_contradict(world: World, receive: Receive) -> None:
    server = receive(200)
    result = world.ark(
        "dest", "add", with_user(server, "me:pw"), "--allow-local", "--header", "authorization: Bearer x"
    )
    assert result.status == 2
    assert "Authorization" in result.err
    assert "pw" not in result.err
    assert not server.requests


def test_a_header_is_replaced_whatever_its_case(world: World, receive: Receive) -> None:
    server = receive(200)
    world.add(server, "crm", "--header", "X-Team: sales", "--header", "x-team: support")
    assert world.ark("dest", "set", "crm", "--header", "X-TEAM: both").status == 0
    world.ark("ping")
    assert server.requests[-1].headers["x-team"] == "both"
    assert world.store_file.read_text().lower().count("x-team") == 1


def test_a_ca_file_may_have_any_name(world: World, receive: Receive, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    named = tmp_path / "ü — авторитет.pem"
    named.write_bytes(Path(certificates.ca_file).read_bytes())
    good = receive(200)
    world.add(good, "good")
    with receiver(200, certificates.wrapping("localhost")) as server:
        url = f"https://localhost:{server.port}/"
        added = world.ark("dest", "add", url, "--allow-local", "--name", "tls", "--ca-file", str(named))
    assert added.status == 0, added
    assert world.ark("ping", "good").status == 0


def test_a_change_keeps_what_was_changed_while_the_endpoint_was_pinged(world: World, receive: Receive) -> None:
    old, new = receive(200), receive(200)
    world.add(old, "crm")

    def pause_meanwhile(_: Request) -> bytes:
        assert world.ark("dest", "pause", "crm").status == 0
        return answer(200)

    new.behave = pause_meanwhile
    changed = world.ark("dest", "set", "crm", "--url", new.url, "--json")
    assert changed.json["destination"]["url"] == new.url
    assert world.ark("dest", "show", "crm", "--json").json["destination"]["paused"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_receiver_that_refuses_the_signature_needs_the_secret_first(
    world: World, receive: Receive, status: int
) -> None:
    server = receive(status)
    first = world.ark("dest", "add", server.url, "--allow-local")
    assert "make it with `ark secret rotate --reveal`" in first.err
    world.ark("secret", "rotate")
    assert "`ark secret show --reveal` prints it" in world.ark("dest", "add", server.url, "--allow-local").err


def test_a_secret_of_its_own_is_told_where_it_is_and_can_be_shown(world: World, receive: Receive) -> None:
    server = receive(200)
    added = world.ark("dest", "add", server.url, "--allow-local", "--name", "crm", "--own-secret")
    assert "for crm alone" in added.err
    assert "ark dest show crm --reveal" in added.err
    assert "ark secret show" not in added.err
    shown = world.ark("dest", "show", "crm", "--reveal", "--json").json["destination"]["secret"]
    assert server.requests[-1].signature == sign(shown, server.requests[-1].body)
    assert "secret" not in world.ark("dest", "show", "crm", "--json").json["destination"]
    assert shown not in world.ark("dest", "show", "crm").out
    assert "ark dest show crm --reveal" in world.ark("dest", "set", "crm", "--own-secret").err
    assert world.ark("dest", "show", "crm", "--reveal", "--json").json["destination"]["secret"] != shown


@pytest.mark.parametrize("other", [("--own-secret",), ("--secret-file", "/dev/null")])
def test_the_workspaces_secret_and_another_contradict(world: World, receive: Receive, other: tuple[str, ...]) -> None:
    world.add(receive(), "crm")
    before = world.store_file.read_bytes()
    result = world.ark("dest", "set", "crm", "--workspace-secret", *other)
    assert (result.status, f"--workspace-secret and {other[0]} do not go together" in result.err) == (2, True)
    assert world.store_file.read_bytes() == before

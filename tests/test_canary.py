"""Every command runs with known secrets, which must not appear anywhere but where they belong.

The tests search both streams and every file below the home, also for a secret in base64, in hex or percent-encoded.
"""

import base64
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import pytest

from arkcli.cli.app import COMMANDS
from arkcli.signing import Secret, sign
from arkcli.signing.scheme import STANDARD
from tests.postgres import query
from tests.world import PAYLOAD, Request, TestReceiver, World, answer, receiver

WORKSPACE: Final = "canary-workspace-4f1d0c"
OWN: Final = "canary-own-91ab77"
HEADER: Final = "canary-header-55d3e0"
PASSWORD: Final = "canary/p@ss-7c20aa"
VARIABLE: Final = "canary-variable-08e1f2"
PROXY: Final = "canary-proxy-3ab9d1"
SECRETS: Final = (WORKSPACE, OWN, HEADER, PASSWORD, VARIABLE, PROXY)
WRONG: Final = "0" * 64
#: Header lines that are right, except for their time.
WEBHOOK: Final = [
    f"{name}: {value}"
    for name, value in zip(STANDARD.headers, STANDARD.signer(Secret(OWN))("evt_1", 1, PAYLOAD), strict=True)
]

#: Invalid URLs that contain the password.
MISTYPED: Final = (
    f"me:{PASSWORD}@hooks.example.com",
    f"https:/me:{PASSWORD}@hooks.example.com",
    f"https:me:{PASSWORD}@hooks.example.com",
    f"//me:{PASSWORD}@hooks.example.com",
    f"https://me:#{PASSWORD}@hooks.example.com",
    f"https://hooks.example.com/#{PASSWORD}",
    f"http://hooks.example.com/#{PASSWORD}",
    f"https://me:{PASSWORD} @hooks.example.com",
)
#: A proxy at which nothing listens, and texts that are no proxies.
REFUSING: Final = f"http://me:{PROXY}@127.0.0.1:1"
WRONG_PROXIES: Final = (f"ftp://me:{PROXY}@127.0.0.1:1", f"me:{PROXY}@127.0.0.1:1", f"{REFUSING}/path", f"{REFUSING}#x")
#: Every command, succeeding and failing. URL is a receiver's address, with a user name and a password.
RUNS: Final = (
    ("secret", "set"),
    ("secret", "show"),
    ("secret", "show", "--nonsense"),
    ("secret", "show", "--standard-webhooks"),
    ("dest", "add", "URL", "--allow-local", "--name", "crm", "--secret-file", "OWN", "--header", f"X-Token: {HEADER}"),
    ("dest", "add", "URL", "--allow-local"),
    ("dest", "add", "URL", "--nonsense"),
    ("dest", "add", f"http://me:{urllib.parse.quote(PASSWORD, safe='')}@127.0.0.1:1/", "--allow-local"),
    ("dest", "add", f"ftp://me:{PASSWORD}@127.0.0.1:1/"),
    ("dest", "add", f"https://me%3A:{urllib.parse.quote(PASSWORD, safe='')}@example.com/"),
    *(("dest", "add", url) for url in MISTYPED),
    ("dest", "set", "crm", "--url", MISTYPED[0]),
    ("dest", "set", "crm", "--header", f"X-Token {HEADER}"),
    ("dest", "set", "crm", "--header", f"X-Tok\xe9n: {HEADER}"),
    ("dest", "set", "crm", "--header", f"X-Token: {HEADER}\r\nHost: evil"),
    ("dest", "set", "crm", "--header", f"Host: {HEADER}"),
    ("dest", "set", "crm", "--description", "the sales team", "--standard-webhooks"),
    ("dest", "set", "crm", "--rate", "5000/h", "--max-in-flight", "8"),
    *(("dest", "set", "crm", "--proxy", proxy) for proxy in WRONG_PROXIES),
    ("dest", "add", "http://127.0.0.1:1/p", "--allow-local", "--name", "far", "--proxy", REFUSING, "--no-ping"),
    ("dest", "add", "http://127.0.0.1:1/q", "--allow-local", "--proxy", REFUSING),
    ("dest", "show", "far"),
    ("dest", "set", "far", "--proxy", REFUSING, "--description", "behind a proxy"),
    ("dest", "list"),
    ("dest", "show", "crm"),
    ("dest", "pause", "crm"),
    ("dest", "resume", "crm"),
    ("ping",),
    ("ping", "no process"),
    ("send", "signal.promoted", "PAYLOAD", "--id", "event-1"),
    ("send", "signal.promoted", "PAYLOAD", "--queue"),
    ("send", "signal.promted", "PAYLOAD"),
    ("send", "signal.promoted", "PAYLOAD", "--dry-run"),
    ("send", "signal.promoted", "PAYLOAD", "--curl"),
    ("send", "ping", "--url", "URL", "--allow-local", "--header", f"X-Token: {HEADER}", "--dry-run"),
    ("send", "ping", "--url", "URL", "--allow-local", "--header", f"X-Token: {HEADER}", "--curl"),
    ("send", "signal.promoted", "--ndjson", "PAYLOAD", "--queue"),
    ("send", "ping", "--url", "URL", "--allow-local", "--secret-file", "OWN", "--header", f"X-Token: {HEADER}"),
    ("send", "ping", "--url", "http://127.0.0.1:1/", "--allow-local", "--header", f"X-Token: {HEADER}"),
    ("drain",),
    ("drain", "--dry-run"),
    ("doctor",),
    ("config", "path"),
    ("config", "show"),
    ("events",),
    ("events", "sample", "ping"),
    ("queue",),
    ("queue", "list"),
    ("queue", "show", "event-1"),
    ("queue", "retry", "event-1"),
    ("queue", "drop", "event-1", "--yes"),
    ("queue", "move", "local"),
    ("queue", "upgrade"),
    ("queue", "upgrade", "--print"),
    ("queue", "check"),
    ("queue", "check", "--repair"),
    ("replay", "event-1"),
    ("log",),
    ("check", "URL", "--allow-local", "--secret-file", "OWN", "--header", f"X-Token: {HEADER}"),
    ("check", "http://127.0.0.1:1/", "--allow-local", "--header", f"X-Token: {HEADER}"),
    ("check", MISTYPED[0]),
    ("sign", "PAYLOAD"),
    ("sign", "PAYLOAD", "--secret", OWN),
    ("sign", "PAYLOAD", "--secret-file", "OWN"),
    ("sign", "MISSING", "--secret", OWN),
    ("sign", "PAYLOAD", "--webhook-id", "evt_1", "--secret", OWN),
    ("sign", "PAYLOAD", "--webhook-id", "e v", "--secret", OWN),
    ("verify", "PAYLOAD", "--signature", WRONG, "--secret", OWN, "--secret", WORKSPACE),
    ("verify", "PAYLOAD", "--signature", sign(OWN, PAYLOAD), "--secret", OWN),
    ("verify", "PAYLOAD", "--signature", OWN),
    ("verify", "PAYLOAD", "--signature", WRONG, "--secret", OWN, "--explain"),
    ("verify", "PAYLOAD", "--signature", sign(HEADER, PAYLOAD), "--secret", OWN, "--explain"),
    ("verify", "PAYLOAD", "--signature", sign(VARIABLE, PAYLOAD), "--secret", OWN, "--explain"),
    ("verify", "PAYLOAD", "--signature", sign(WORKSPACE, PAYLOAD), "--secret", OWN, "--explain"),
    ("verify", "PAYLOAD", *(word for line in WEBHOOK for word in ("-s", line)), "--secret", OWN, "--explain"),
    ("verify", "--request", "RECEIVED", "--secret", OWN, "--explain"),
    ("listen", "--port", "0", "--count", "1", "--timeout", "20ms", "--secret", OWN),
    ("listen", "--forward-to", f"ftp://me:{PASSWORD}@127.0.0.1:1/"),
    *(("listen", "--forward-to", url) for url in MISTYPED),
    ("send", "ping", "--url", MISTYPED[0], "--secret-file", "OWN"),
    ("serve", "--socket", "/proc/nowhere/ark.sock", "--token-file", "OWN"),
    ("ui", "--port", "70000"),
    ("demo",),
    ("completion", "bash"),
    ("nonsense", "--secret", OWN),
    ("dest", "set", "crm", "--own-secret"),
    ("dest", "show", "crm"),
    ("dest", "remove", "crm", "--yes"),
    ("secret", "rotate"),
)


def spellings(secret: str) -> Iterator[bytes]:
    raw = secret.encode()
    yield raw
    yield raw.hex().encode()
    yield urllib.parse.quote(secret, safe="").encode()
    # In base64 of something longer, the secret can have three alignments.
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw)
        yield encoded[4 if shift else 0 : len(encoded) // 4 * 4 - 4]


def leaked(content: bytes) -> set[str]:
    return {secret for secret in SECRETS if any(found in content for found in spellings(secret))}


class Run:
    """A home in which all commands run in turn."""

    def __init__(self, home: Path, database: str | None = None) -> None:
        self.home = home
        self.world = World(home / "ark", database=database)
        self.world.variables["ARK_SECRET"] = VARIABLE
        self.places = {"OWN": home / "own.txt", "PAYLOAD": home / "payload.json", "RECEIVED": home / "received.http"}
        self.places["OWN"].write_text(OWN)
        self.places["PAYLOAD"].write_bytes(PAYLOAD)
        self.places["RECEIVED"].write_bytes(f"X-Token: {HEADER}\nX-Signature: {OWN}\n\n".encode() + PAYLOAD)

    def ark(self, url: str, *args: str) -> str:
        given = [url if arg == "URL" else str(self.places.get(arg, arg)) for arg in args]
        result = self.world.ark(*given, stdin=WORKSPACE.encode())
        return result.out + result.err


@pytest.fixture(scope="module")
def said(
    tmp_path_factory: pytest.TempPathFactory,
) -> "Iterator[tuple[Run, dict[tuple[str, ...], bytes], TestReceiver]]":
    run = Run(tmp_path_factory.mktemp("canary"))

    def echo(request: Request) -> bytes:
        return answer(503, b"you sent " + request.headers.get("x-signalark-signature", "").encode())

    with receiver(echo) as server:
        url = server.url.replace("http://", f"http://me:{urllib.parse.quote(PASSWORD, safe='')}@")
        heard: dict[tuple[str, ...], bytes] = {}
        for form in ((), ("--json",)):
            for args in RUNS:
                if args[:2] == ("dest", "add"):
                    server.behave = lambda _: answer(200)
                heard[*args, *form] = run.ark(url, *args, *form).encode()
                server.behave = echo
        yield run, heard, server


def test_every_command_is_among_those_that_run() -> None:
    assert {args[0] for args in RUNS} == {*COMMANDS, "nonsense"}


def test_the_secrets_were_in_use(said: tuple[Run, dict[tuple[str, ...], bytes], TestReceiver]) -> None:
    run, heard, server = said
    basic = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    requests: list[Request] = server.requests
    assert {request.headers["authorization"] for request in requests} == {f"Basic {basic}"}
    assert {request.headers["x-token"] for request in requests} == {HEADER}
    forged = [one for one in requests if one.headers.get("x-signalark-signature") != sign(OWN, one.body)]
    # `ark check` forges six, in text and in JSON.
    assert len(forged) == 2 * 6
    assert heard["sign", "PAYLOAD"].decode().strip() == sign(VARIABLE, PAYLOAD)
    assert len(run.world.event_lines) > 2


@pytest.mark.parametrize("args", [(*args, *form) for form in ((), ("--json",)) for args in RUNS], ids=" ".join)
def test_no_secret_is_said(said: tuple[Run, dict[tuple[str, ...], bytes], TestReceiver], args: tuple[str, ...]) -> None:
    _, heard, _ = said
    assert leaked(heard[args]) == set()


def test_no_secret_is_in_any_file_but_its_own(
    said: tuple[Run, dict[tuple[str, ...], bytes], TestReceiver],
) -> None:
    run, _, _ = said
    files = [path for path in run.home.rglob("*") if path.is_file()]
    given = {run.places["OWN"], run.places["RECEIVED"], run.world.store_file}
    assert run.world.store_file in files
    found = {path: leaked(path.read_bytes()) for path in files if path not in given}
    assert {path: secrets for path, secrets in found.items() if secrets} == {}


#: The commands that touch the queue or the store.
DATABASE = ("secret", "dest", "ping", "send", "drain", "queue", "replay", "log", "doctor", "config")


def test_no_secret_url_or_header_is_in_a_database_in_clear_or_in_the_log_of_its_statements(
    empty_database: str, tmp_path: Path
) -> None:
    name = empty_database.partition("?")[0].rpartition("/")[2]
    query(empty_database, f"alter database {name} set log_statement = 'all'")
    run = Run(tmp_path, empty_database)
    with receiver(503) as server:
        server.behave = lambda request: answer(200 if b'"ping"' in request.body else 503, b"no room")
        url = server.url.replace("http://", f"http://me:{urllib.parse.quote(PASSWORD, safe='')}@")
        for args in RUNS:
            if args[0] in DATABASE and args[:2] != ("queue", "move"):
                run.ark(url, *args)
                if args == ("ping",):
                    assert len(run.world.ark("dest", "list", "--json").json["destinations"]) == 2
        own = f"127.0.0.1:{server.port}".encode()
    query(empty_database, f"alter database {name} reset log_statement")
    tables = query(
        empty_database, "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname = 'ark'"
    )
    rows = {table: query(empty_database, f"select * from {table}") for (table,) in tables}
    assert rows["ark.store"][0][2]
    assert len(rows["ark.attempt"]) > 2
    kept = b"\n".join(
        value if isinstance(value, bytes) else str(value).encode()
        for found in rows.values()
        for row in found
        for value in row
    )
    log = Path(parse_qs(urlsplit(empty_database).query).get("host", ["/nowhere"])[0]) / "log"
    said = log.read_bytes() if log.exists() else b""
    assert (not said) or b"ark.store set version" in said
    for content in (kept, said):
        assert leaked(content) == set()
        assert own not in content
        assert b"sales team" not in content


def test_a_process_that_crashes_leaves_no_core_with_secrets_in_it() -> None:
    asked = "import resource, arkcli.cli.session as e; e.Session.of_this_process(); "
    shown = "print(resource.getrlimit(resource.RLIMIT_CORE)[0])"
    done = subprocess.run([sys.executable, "-c", asked + shown], capture_output=True, text=True, check=True)
    assert int(done.stdout) in (0, 1)


def test_every_file_and_directory_is_for_this_user_alone(
    said: tuple[Run, dict[tuple[str, ...], bytes], TestReceiver],
) -> None:
    run, _, _ = said
    assert [path for path in (run.home / "ark").rglob("*") if path.stat().st_mode & 0o077] == []

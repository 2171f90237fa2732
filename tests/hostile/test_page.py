"""Attacks on the page: by other sites in the same browser, by names that lead here, and by what it shows."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from arkcli.web.rendering import STATIC
from tests.web.browsing import Browser, ui
from tests.world import PAYLOAD, World, answer, receiver

#: What tries to be markup.
SCRIPT = "<script>alert(1)</script>"
MARKUP = f"\"'></textarea></pre></title>{SCRIPT}<img src=x onerror=alert(1)>"
#: The value of a header that the user has set.
HEADER = "canary-header-55d3e0"
PAGES = ("", "add", "failing", "dead", "events", "send", "replay", *STATIC)


class Victim:
    """A page with a destination `crm` that has a dead delivery, and the browser that has opened it."""

    def __init__(self, world: World, browser: Browser) -> None:
        self.world = world
        self.browser = browser
        self.root = browser.root
        (found,) = world.ark("dest", "list", "--json").json["destinations"]
        self.path = f"{self.root}dest/{found['id']}"
        self.event = world.ark("queue", "list", "--json").json["deliveries"][0]["event_id"]
        self.changes = [
            *(f"{self.path}/{verb}" for verb in ("pause", "resume", "ping", "deliver", "remove", "secret")),
            *(f"{self.path}/dead/{verb}" for verb in ("retry", "drop")),
            *(f"{self.root}{path}" for path in ("add", "send", "replay", "dead/retry", "dead/drop")),
            *(f"{self.root}event/{self.event}/{verb}" for verb in ("retry", "drop", "replay")),
        ]

    def ask(self, method: str, path: str, *, cookie: bool = True, **options: object) -> httpx.Response:
        """A request as a page of another site could have the browser send it."""
        cookies = dict(self.browser.client.cookies) if cookie else {}
        with httpx.Client(base_url=self.browser.origin, trust_env=False, verify=False, cookies=cookies) as client:
            return client.request(method, path, **options)  # type: ignore[arg-type]

    @property
    def state(self) -> object:
        """All that a form could change."""
        store = self.world.store_file.read_text()
        return store, self.world.ark("queue", "list", "--json").out, len(self.world.event_lines)


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """One for all tests: no attack changes it."""
    world = World(tmp_path_factory.mktemp("victim") / "home")
    with receiver(lambda _: answer(500, MARKUP.encode())) as crm:
        world.add(crm, "crm", "--description", MARKUP, "--header", f"X-Token: {HEADER}")
        world.ark("send", "signal.promoted", stdin=PAYLOAD.replace(b"Northwind", MARKUP.replace('"', '\\"').encode()))
        for seconds in (30, 300, 1800, 7200):
            world.clock.advance(seconds)
            world.ark("drain")
        with ui(world) as page, Browser(page.address) as browser:
            yield Victim(world, browser)


def test_the_token_leaves_the_address_and_becomes_a_cookie_for_this_page_alone(world: World) -> None:
    with ui(world) as page, Browser(page.address, opened=False) as browser:
        token = page.address.partition("token=")[2]
        assert len(token) == 48
        response = browser.client.get(page.address)
        root = response.headers["Location"]
        assert (response.status_code, token in root) == (303, False)
        name, *flags = response.headers["Set-Cookie"].split("; ")
        assert token not in name
        assert flags == [f"Path={root}", "HttpOnly", "SameSite=Strict"]


def test_two_runs_share_neither_token_nor_cookie_nor_field_nor_path(world: World) -> None:
    with ui(world) as one, ui(world) as other, Browser(one.address) as here, Browser(other.address) as there:
        assert here.root != there.root
        assert here.field != there.field
        assert httpx.get(f"{here.origin}/?token={other.address.partition('=')[2]}").status_code == 403
        stolen = {"Cookie": f"ark={there.client.cookies['ark']}"}
        assert httpx.get(f"{here.origin}{here.root}", headers=stolen).status_code == 403


def test_an_address_that_others_may_read_lets_in_once(world: World) -> None:
    with ui(world) as page:
        once = page.address_once()
        assert httpx.get(once).status_code == 303
        assert httpx.get(once).status_code == 403
        assert httpx.get(page.address).status_code == httpx.get(page.address).status_code == 303


@pytest.mark.parametrize("query", ["", "?token=", "?token=x", "?token=%00", "?token=x&token=", "?" + "a&" * 600])
def test_without_the_token_there_is_nothing_to_see(victim: Victim, query: str) -> None:
    response = victim.ask("GET", f"/{query}", cookie=False)
    assert response.status_code in (400, 403)
    assert "set-cookie" not in response.headers
    assert victim.root not in response.text


def test_without_the_cookie_no_page_and_no_change(victim: Victim) -> None:
    before = victim.state
    field = victim.browser.field
    for path in (*PAGES, "news", f"event/{victim.event}", "nothing"):
        response = victim.ask("GET", f"{victim.root}{path}", cookie=False)
        assert (response.status_code, "crm" in response.text) == (403, False), path
        assert victim.ask("GET", f"/{path}x").status_code == 404
    for path in victim.changes:
        sent = victim.ask("POST", path, cookie=False, data={"field": field}, headers={"Origin": victim.browser.origin})
        assert sent.status_code == 403, path
    assert victim.state == before


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "localhost."),
        *("127.0.0.1@evil.example", "2130706433", "0x7f.1", "10.0.0.1", "[::ffff:10.0.0.1]", "localhost:80:80", "a b"),
        *("127.0.0.1/", "[::1", "::1", "169.254.169.254"),
    ],
)
def test_a_name_that_leads_here_by_rebinding_is_refused(victim: Victim, host: str) -> None:
    for path in ("/", victim.root, victim.path):
        response = victim.ask("GET", path, headers={"Host": host})
        assert (response.status_code, "crm" in response.text) == (421, False)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:9000", "[::1]:80", "127.8.9.1"])
def test_the_names_of_this_machine_are_taken_with_any_port_because_one_may_be_forwarded(
    victim: Victim, host: str
) -> None:
    assert victim.ask("GET", victim.root, headers={"Host": host}).status_code == 200


def test_who_listens_for_others_is_reached_by_any_address_but_still_by_no_strange_name(world: World) -> None:
    with ui(world, host="0.0.0.0") as page:
        address = page.address.replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(address, headers={"Host": "192.0.2.7:80"}).status_code == 303
        assert httpx.get(address, headers={"Host": "evil.example"}).status_code == 421


ORIGINS = (
    *(None, "null", "http://evil.example", "http://localhost.evil.example", "http://127.0.0.1", "http://127.0.0.1:1"),
    *("https://{host}", "http://{host}.evil.example", "http://{host}/", "http://localhost:{port}"),
)


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_form_of_another_origin_changes_nothing(victim: Victim, origin: str | None) -> None:
    before, field = victim.state, victim.browser.field
    host = victim.browser.origin.removeprefix("http://")
    given = {} if origin is None else {"Origin": origin.format(host=host, port=host.partition(":")[2])}
    for path in victim.changes:
        response = victim.ask("POST", path, data={"field": field, "yes": "yes"}, headers=given)
        assert response.status_code == 403, path
    assert victim.state == before


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "nonsense"])
def test_what_another_site_has_the_browser_ask_for_is_refused_cookie_or_not(victim: Victim, site: str) -> None:
    before, field = victim.state, victim.browser.field
    given = {"Sec-Fetch-Site": site, "Origin": victim.browser.origin}
    assert victim.ask("GET", victim.root, headers=given).status_code == 403
    for path in victim.changes:
        assert victim.ask("POST", path, data={"field": field, "yes": "yes"}, headers=given).status_code == 403
    assert victim.state == before


@pytest.mark.parametrize("field", [None, "", "x", "0" * 48])
def test_a_form_without_the_field_of_this_run_changes_nothing(victim: Victim, field: str | None) -> None:
    before = victim.state
    given = {"yes": "yes"} | ({} if field is None else {"field": field})
    for path in victim.changes:
        response = victim.ask("POST", path, data=given, headers={"Origin": victim.browser.origin})
        assert (response.status_code, "reload the page" in response.text) == (403, True), path
    assert victim.state == before


def test_nothing_is_changed_or_revealed_by_a_link(victim: Victim) -> None:
    before = victim.state
    field = victim.browser.field
    (secret,) = victim.world.shared_secrets()
    for path in victim.changes:
        response = victim.ask("GET", f"{path}?field={field}&yes=yes")
        assert response.status_code in (200, 404)
        assert secret not in response.text
        assert victim.ask("HEAD", path).content == b""
    assert victim.state == before


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_no_other_method_is_taken(victim: Victim, method: str) -> None:
    before = victim.state
    response = victim.ask(method, victim.path, headers={"Origin": victim.browser.origin})
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD, POST")
    assert victim.state == before


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/form-data; boundary=x", ""])
def test_only_a_plain_form_is_taken(victim: Victim, kind: str) -> None:
    before = victim.state
    body = f"field={victim.browser.field}".encode()
    given = {"Origin": victim.browser.origin, "Content-Type": kind}
    assert victim.ask("POST", f"{victim.path}/pause", content=body, headers=given).status_code == 415
    assert victim.state == before


def test_a_form_that_is_too_large_or_has_too_many_fields_is_refused(victim: Victim) -> None:
    given = {"Origin": victim.browser.origin, "Content-Type": "application/x-www-form-urlencoded"}
    form = f"field={victim.browser.field}&payload="
    large = victim.ask("POST", f"{victim.root}send", content=form + "x" * (4 << 20), headers=given)
    assert large.status_code == 413
    many = victim.ask("POST", f"{victim.root}send", content=form + "&a=" * 1000, headers=given)
    assert (many.status_code, "more than 50 fields" in many.text) == (400, True)
    assert victim.ask("GET", f"{victim.root}?{'a&' * 1000}").status_code == 400


def test_no_answer_can_be_framed_kept_guessed_at_or_load_anything_from_elsewhere(victim: Victim) -> None:
    answers = [
        *(victim.ask("GET", f"{victim.root}{path}") for path in (*PAGES, f"event/{victim.event}", "nothing")),
        victim.ask("GET", "/"),
        victim.ask("GET", victim.root, headers={"Host": "evil.example"}),
        victim.ask("POST", f"{victim.path}/pause"),
        victim.ask("PUT", victim.root),
    ]
    for found in answers:
        policy = dict(part.strip().split(" ", 1) for part in found.headers["Content-Security-Policy"].split(";"))
        assert policy.pop("default-src") == policy.pop("frame-ancestors") == policy.pop("base-uri") == "'none'"
        assert policy.keys() == {"script-src", "style-src", "img-src", "connect-src", "form-action"}
        assert set(policy.values()) == {"'self'"}
        assert found.headers["X-Frame-Options"] == "DENY"
        assert found.headers["X-Content-Type-Options"] == "nosniff"
        assert found.headers["Referrer-Policy"] == "same-origin"
        assert found.headers["Cache-Control"] == "no-store"
        assert found.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "access-control-allow-origin" not in found.headers


def test_what_comes_from_outside_is_never_markup(victim: Victim) -> None:
    browser = victim.browser
    pages = [
        *(browser.get(path) for path in ("", "failing", "dead", "events", f"event/{victim.event}", victim.path)),
        browser.get(f"?q={MARKUP}"),
        browser.get(f"find?id={MARKUP}"),
        browser.press(browser.get("add"), "Ping it and add it", url=MARKUP, name=MARKUP, description=MARKUP),
        browser.press(browser.get("send"), "Send it", payload=MARKUP),
        browser.press(browser.get("dead"), "Discard all…", a=MARKUP),
    ]
    for page in pages:
        assert "<script>alert" not in page.html
        assert "<img" not in page.html
    shown = [page for page in pages if "&lt;script&gt;alert(1)" in page.html]
    assert len(shown) >= 8
    assert "<script src=" in pages[0].html


@pytest.mark.parametrize("text", ["\u202e", "\u200b", "\x1b[2J", "\x00"])
def test_what_misleads_a_reader_is_not_shown(victim: Victim, text: str) -> None:
    found = victim.browser.press(victim.browser.get("add"), "Ping it and add it", url=f"https://a{text}b/")
    assert text not in found.html


@pytest.mark.parametrize(
    "path",
    [
        *("../", "../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "ark.css/../door.py", "templates/base.html", "//evil"),
        *("ark.css%00", "dest/dst_x/../../add", "event/%0d%0aSet-Cookie:%20a=b", "dest/..", "?page=-1", "?page=x"),
        "event/" + "x" * 5000,
    ],
)
def test_a_strange_path_leads_nowhere(victim: Victim, path: str) -> None:
    with socket.create_connection(("127.0.0.1", int(victim.browser.origin.rpartition(":")[2]))) as client:
        cookie = f"ark={victim.browser.client.cookies['ark']}"
        lines = (
            f"GET {victim.root}{path} HTTP/1.1",
            "Host: localhost",
            f"Cookie: {cookie}",
            "Connection: close",
            "",
            "",
        )
        client.sendall("\r\n".join(lines).encode())
        said = b"".join(iter(lambda: client.recv(65536), b""))
    assert said.split()[1] in (b"400", b"404") or path.startswith("?")
    assert b"root:" not in said
    assert b"import " not in said
    assert b"Set-Cookie" not in said.partition(b"\r\n\r\n")[0]


def test_no_page_leads_elsewhere(victim: Victim) -> None:
    for given in ("//evil.example", "https://evil.example", victim.event):
        response = victim.ask("GET", f"{victim.root}find", params={"id": given})
        assert response.headers.get("Location", victim.root).startswith(victim.root)


def test_the_secret_is_on_no_page(victim: Victim) -> None:
    (secret,) = victim.world.shared_secrets()
    for path in (*PAGES, f"event/{victim.event}", victim.path.removeprefix(victim.root)):
        html = victim.browser.get(path).html
        assert secret not in html
        assert HEADER not in html
    assert "X-Token: ***" in victim.browser.get(f"event/{victim.event}").html


def test_clients_that_send_nothing_and_a_receiver_that_does_not_answer_hold_nobody_up(world: World) -> None:
    may_answer = threading.Event()

    def behave(_: object) -> bytes:
        may_answer.wait(20)
        return answer(200)

    with receiver(behave) as slow, ui(world) as page, Browser(page.address) as browser, ThreadPoolExecutor() as pool:
        world.add(slow, "slow")
        port = int(browser.origin.rpartition(":")[2])
        stuck = [socket.create_connection(("127.0.0.1", port)) for _ in range(10)]
        for client in stuck:
            client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
        seen = browser.click(browser.get(), "slow")
        with Browser(page.address) as other:
            pings = [pool.submit(other.press, seen, "Ping") for _ in range(3)]
            assert browser.get().status == 200
            assert not any(ping.done() for ping in pings)
            may_answer.set()
            assert {ping.result().status for ping in pings} == {200}
        for client in stuck:
            client.close()

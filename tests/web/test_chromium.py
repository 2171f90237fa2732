"""The page in a real Chromium: everything done by clicks, attacks by pages of other origins, and what axe finds.

Needs the extra `browser` and Chromium (`apt install chromium`); .ci/browser installs both. Without them these tests are
skipped; with ARK_TEST_BROWSER_REQUIRED=1 that is an error. ARK_TEST_PICTURES=1 writes tests/web/pictures/ again.
"""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from arkcli.model import Draft
from arkcli.times import to_text
from tests.many import build, name
from tests.web.browsing import ui
from tests.web.test_inspector import listening
from tests.world import PAYLOAD, START, World, answer, receiver

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
REQUIRED = os.environ.get("ARK_TEST_BROWSER_REQUIRED") == "1"
PICTURES = Path(__file__).parent / "pictures"
SCRIPT = "<script>window.hit = 1</script><img src=x onerror='window.hit = 1'>"

if REQUIRED:
    import axe_playwright_python.sync_playwright as axe
    import playwright.sync_api as playwright

    assert CHROMIUM, "ARK_TEST_BROWSER_REQUIRED=1, but there is no Chromium; `apt install chromium`"
else:
    playwright = pytest.importorskip("playwright.sync_api", reason="install the extra `browser`")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="install the extra `browser`")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium; `apt install chromium`"),
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    # The name resolves to this machine, as after DNS rebinding. Root has no sandbox.
    rules = "--host-resolver-rules=MAP rebound.example 127.0.0.1"
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", rules])
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Any) -> Iterator[Any]:
    context = chromium.new_context(viewport={"width": 1200, "height": 800})
    context.set_default_timeout(15_000)
    yield context.new_page()
    context.close()


def notice(tab: Any) -> str:
    return str(tab.locator(".notice").first.inner_text())


def sent(world: World) -> str:
    event_id: str = world.ark("send", "signal.promoted", "--json", stdin=PAYLOAD).json["event"]["id"]
    return event_id


def killed(world: World) -> None:
    for seconds in (30, 300, 1800, 7200):
        world.clock.advance(seconds)
        world.ark("drain")


def violations(tab: Any) -> list[str]:
    found = axe.Axe().run(tab)
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found.response["violations"]]


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without"])
def test_who_has_only_the_page_sees_an_event_fail_and_delivers_it(chromium: Any, world: World, script: bool) -> None:
    context = chromium.new_context(java_script_enabled=script)
    tab = context.new_page()
    with receiver(200) as crm, ui(world) as page:
        tab.goto(page.address)
        assert "token" not in tab.url
        tab.click("text=Add a destination")
        tab.fill("#url", crm.url)
        tab.fill("#name", "crm")
        tab.check("text=Allow http")
        tab.click("text=Ping it and add it")
        assert "the ping was answered 200" in notice(tab)

        crm.behave = lambda _: answer(500, b"database is locked")
        tab.click("text=Send a sample")
        tab.click("text=Send it")
        assert "1 retrying" in notice(tab)
        assert tab.locator("blockquote").inner_text() == "database is locked"

        crm.behave = lambda _: answer(200)
        tab.click("text='Retry now'")
        assert "crm: delivered, answered 200" in notice(tab)
        assert tab.locator(".card .state").first.inner_text() == "delivered"
    assert [request.headers["x-signalark-event"] for request in crm.requests] == ["ping", *["signal.promoted"] * 2]
    context.close()


def test_each_thing_that_the_page_can_do_is_done_by_clicks(tab: Any, world: World) -> None:
    with receiver(500) as crm, ui(world) as page:
        world.add(crm, "crm")
        (secret,) = world.shared_secrets()
        sent(world)
        killed(world)
        tab.goto(page.address)
        tab.fill("#q", "CRM")
        tab.click("text=Search")
        tab.click("tbody a")

        def click(*labels: str) -> str:
            for label in labels:
                tab.click(f"text='{label}'")
            return notice(tab)

        assert "crm: Paused" in click("Pause")
        assert "crm: Resumed" in click("Resume")
        assert "The ping failed: answered 500" in click("Ping")
        assert "Attempted 0" in click("Deliver what is due")
        tab.click("text=Reveal the secret")
        assert tab.locator("#secret").inner_text() == secret
        tab.click("text=Hide it")
        assert secret not in tab.content()

        tab.click("nav >> text=What fails")
        assert tab.locator("tbody th").inner_text() == "500"
        tab.click("nav >> text=Dead letters")
        assert "crm: retrying, answered 500" in click("Retry now")
        killed(world)
        tab.click("nav >> text=Dead letters")
        assert "Attempted 1: 0 delivered, 1 to retry" in click("Retry all")
        killed(world)
        tab.click("nav >> text=Dead letters")
        assert "was discarded" in click("Discard all…", "Yes")

        crm.behave = lambda _: answer(200)
        tab.click("nav >> text=Events")
        tab.click("tbody a")
        event = tab.locator("main code").first.inner_text()
        tab.click("text=Headers, and a command that sends it")
        tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
        tab.click("text=Copy the command")
        assert "ark sign" in tab.evaluate("navigator.clipboard.readText()")
        assert "crm: delivered" in click("Send it again to all")
        tab.click("nav >> text=Events")
        tab.fill("#id", event[:-1])
        tab.click("text=Find")
        assert f"/event/{event}" in tab.url
        for _ in range(2):
            sent(world)
        tab.click("nav >> text=Events")
        assert "Queued again: 2 events" in click("Send past events again…", "Send again…", "Yes")
        tab.click("nav >> text=Destinations")
        tab.click("tbody a")
        assert "Removed crm" in click("Remove…", "Yes")


def test_lists_stay_up_to_date_but_not_under_the_users_hands(tab: Any, world: World) -> None:
    with receiver(200) as crm, ui(world) as page:
        world.add(crm, "crm")
        tab.clock.install()
        tab.goto(page.address)
        assert "no attempt yet" in tab.inner_text("tbody")
        sent(world)
        tab.clock.fast_forward(6_000)
        tab.wait_for_selector("tbody >> text=200")
        event = sent(world)
        tab.goto(f"{tab.url}event/{event}")
        tab.click("summary >> nth=0")
        world.ark("replay", event, "--now")
        tab.clock.fast_forward(6_000)
        tab.wait_for_timeout(300)
        assert tab.locator("details[open]").count() == 1
        assert tab.locator(".attempts li").count() == 1
        tab.click("summary >> nth=0")
        tab.click("h1")
        tab.clock.fast_forward(6_000)
        tab.wait_for_selector(".attempts li >> nth=1")


def test_a_command_is_copied_from_a_list_that_was_brought_up_to_date(chromium: Any, tab: Any, world: World) -> None:
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    with receiver(200) as crm, ui(world) as page:
        world.add(crm, "crm")
        tab.clock.install()
        tab.goto(page.address)
        address = f"{tab.url}event/{sent(world)}"
        tab.goto(address)
        world.ark("replay", address.rpartition("/")[2], "--now")
        tab.clock.fast_forward(6_000)
        tab.wait_for_selector(".attempts li >> nth=1")
        tab.click("summary >> nth=0")
        tab.click("text=Copy the command")
        tab.wait_for_selector("text=Copied")
        assert "ark sign" in tab.evaluate("navigator.clipboard.readText()")
        plain = chromium.new_context(java_script_enabled=False, storage_state=tab.context.storage_state()).new_page()
        plain.goto(address)
        plain.click("summary >> nth=0")
        assert plain.locator("text=Copy the command").count() == 1
        assert not plain.locator("text=Copy the command").is_visible()
        plain.context.close()


def test_a_page_that_was_hidden_is_up_to_date_when_it_is_seen_again(tab: Any, world: World) -> None:
    with listening(world) as found:
        tab.goto(found.page.address)
        tab.evaluate("Object.defineProperty(document, 'hidden', {get: () => window.away, configurable: true})")
        tab.evaluate("window.away = true")
        found.post(b'{"event":"ping","n":1}')
        tab.wait_for_timeout(400)
        assert "Requests appear here as they come." in tab.inner_text("main")
        tab.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
        tab.wait_for_selector("text=#1 ping")


def test_requests_come_to_the_page_of_listen_by_themselves_and_obey_it(tab: Any, world: World) -> None:
    with receiver(201) as app, listening(world, app=app) as found:
        tab.goto(found.page.address)
        assert "Requests appear here as they come." in tab.inner_text("main")
        found.post(b'{"event":"ping","n":1}', delivery="evt_1.dst_1", attempt="1")
        tab.click("text=#1 ping")
        assert '"n": 1' in tab.locator("pre[aria-label='Body, indented']").inner_text()
        tab.click("text=Raw")
        tab.click("text=Hex")
        assert "00000000  7b 22 65" in tab.inner_text("main")
        assert violations(tab) == []
        tab.click("text=Send it again")
        tab.wait_for_selector("text=#2 ping")
        tab.click("text=#1 ping")
        tab.click("text=Edit and sign again")
        tab.fill("#body", '{\n  "event": "ping",\n  "n": 2\n}')
        tab.click("text=Sign and send it")
        tab.wait_for_selector("text=#3 ping")
        assert app.requests[-1].body == b'{"event":"ping","n":2}'
        tab.select_option("#answer", "503")
        tab.click("text='Set'")
        assert found.post(delivery="evt_1.dst_1", attempt="2").status_code == 503
        tab.wait_for_selector("text=#4 ping")
        assert violations(tab) == []
        tab.fill("#q", "503")
        tab.click("text=Filter")
        assert tab.locator("tbody tr").count() == 1
        tab.click("text=#4 ping")
        assert "+X-SignalArk-Attempt: 2" in tab.locator(".diff").inner_text()
        picture(tab, "request")


def picture(tab: Any, called: str) -> None:
    if os.environ.get("ARK_TEST_PICTURES") == "1":
        PICTURES.mkdir(exist_ok=True)
        tab.screenshot(path=str(PICTURES / f"{called}.png"))


@pytest.fixture(scope="module")
def lively(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, str]]:
    """A home where everything has happened, and its page's address."""
    world = World(tmp_path_factory.mktemp("lively") / "home")
    with receiver(200) as crm, receiver(lambda _: answer(500, b'{"error": "database is locked"}')) as lake:
        world.add(crm, "crm", "--description", "the sales team")
        world.add(lake, "data-lake")
        world.ark("dest", "add", "http://127.0.0.1:9/", "--name", "old-erp", "--allow-local", "--no-ping")
        for _ in range(6):
            sent(world)
            world.clock.advance(5_000)
            world.ark("drain")
        world.ark("dest", "pause", "crm")
        sent(world)
        with ui(world) as page:
            yield world, page.address


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 1200), ("light", 375), ("dark", 375)])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_screen(
    chromium: Any, lively: tuple[World, str], scheme: str, width: int
) -> None:
    world, address = lively
    context = chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 760})
    tab, complaints = context.new_page(), list[str]()
    tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    tab.goto(address)
    root = tab.url
    found = world.ark("queue", "list", "--json").json["deliveries"]
    dest = world.ark("dest", "show", "data-lake", "--json").json["destination"]["id"]
    event = f"event/{found[0]['event_id']}"
    pictures = {"": ("light", 1200), f"dest/{dest}": ("light", 375), event: ("dark", 1200)}
    names = {"": "overview", f"dest/{dest}": "destination", event: "event"}
    for path in (*names, "add", "failing", "dead", "events", "send", "replay", "?q=nothing"):
        tab.goto(f"{root}{path}")
        assert violations(tab) == [], path
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, path
        if pictures.get(path) == (scheme, width):
            picture(tab, names[path])
    assert complaints == []
    context.close()


def test_axe_would_find_something(tab: Any) -> None:
    tab.set_content("<html lang=en><title>x</title><main><h1>x</h1><input><img src=x></main></html>")
    assert len(violations(tab)) >= 2


def test_the_keyboard_suffices(tab: Any, lively: tuple[World, str]) -> None:
    tab.goto(lively[1])
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Skip to content"
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "main"
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Add a destination"
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#url")
    assert tab.evaluate("document.activeElement.id") == "url"
    tab.keyboard.type("https://nowhere.invalid.example\n")
    tab.wait_for_selector("[role=alert]")


class Elsewhere(BaseHTTPRequestHandler):
    """A site of another origin. Its page is what a test puts here."""

    page = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(self.page)))
        self.end_headers()
        self.wfile.write(self.page)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def elsewhere() -> Iterator[Callable[[str, str], str]]:
    """Publishes a page on a host of another site, or of the same site but another port; returns its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def publish(host: str, page: str) -> str:
        Elsewhere.page = page.encode()
        return f"http://{host}:{server.server_port}/"

    yield publish
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "rebound.example"])
@pytest.mark.parametrize("way", ["form", "fetch", "frame", "script", "link"])
def test_a_page_of_another_origin_changes_and_reads_nothing_though_the_browser_has_the_cookie(
    tab: Any, world: World, elsewhere: Callable[[str, str], str], host: str, way: str
) -> None:
    with receiver(200) as crm, ui(world) as page:
        world.add(crm, "crm")
        before = world.store_file.read_text()
        tab.goto(page.address)
        tab.click("tbody a")
        path, root = tab.url, tab.url.partition("/dest/")[0]
        field = tab.locator("input[name=field]").first.input_value()
        # As bad as can be: the site knows the path and the field.
        pages = {
            "form": f"<form method=post action='{path}/pause'><input name=field value={field}></form>"
            "<script>document.forms[0].submit()</script>",
            "fetch": f"<script>fetch('{path}/pause', {{method: 'POST', credentials: 'include', "
            f"headers: {{'Content-Type': 'application/x-www-form-urlencoded'}}, body: 'field={field}'}})"
            ".then(r => r.text()).then(t => document.title = t, e => document.title = 'refused')</script>",
            "frame": f"<iframe src='{path}'></iframe>",
            "script": f"<script src='{root}/news'></script><script src='{root}/ark.js'></script>",
            "link": f"<a href='{path}/pause?field={field}&yes=yes'>x</a><script>document.links[0].click()</script>",
        }
        tab.goto(elsewhere(host, pages[way]))
        if way in ("form", "link"):
            tab.wait_for_url(f"{path}/pause**")
            assert "crm" not in tab.inner_text("body")
        elif way == "fetch":
            tab.wait_for_function("document.title")
            assert tab.title() == "refused"
        elif way == "frame":
            tab.wait_for_timeout(200)
            assert not any("crm" in frame.content() for frame in tab.frames[1:])
        assert world.store_file.read_text() == before
    assert crm.requests == []


def test_who_comes_by_a_link_on_another_page_such_as_a_terminal_in_the_browser_tries_again(
    tab: Any, world: World, elsewhere: Callable[[str, str], str]
) -> None:
    with ui(world) as page:
        tab.goto(elsewhere("rebound.example", f"<a href='{page.address}'>x</a>"))
        tab.click("a")
        assert tab.inner_text("h1") == "This page is not open here"
        tab.click("text=try again")
        assert tab.inner_text("h1") == "Destinations"


def test_a_name_that_is_rebound_to_this_machine_sees_nothing(tab: Any, world: World) -> None:
    with ui(world) as page:
        port = page.address.rpartition(":")[2].partition("/")[0]
        response = tab.goto(f"http://rebound.example:{port}/{page.address.rpartition('/')[2]}")
        assert response.status == 421
        assert tab.context.cookies() == []


def test_hostile_text_is_not_run_and_a_policy_stands_behind_it(tab: Any, world: World) -> None:
    with receiver(lambda _: answer(500, SCRIPT.encode())) as crm, ui(world) as page:
        world.add(crm, "crm", "--description", SCRIPT)
        event = sent(world)
        tab.goto(page.address)
        for path in ("", "failing", f"event/{event}"):
            tab.goto(tab.url.partition("/event")[0].removesuffix("failing").rstrip("/") + "/" + path)
            assert tab.evaluate("window.hit") is None
        assert SCRIPT in tab.inner_text("main")
        # If a template forgot to escape, the policy would still keep it from running.
        tab.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hit = 1\">')")
        tab.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.hit = 1'}))")
        tab.wait_for_timeout(200)
        assert tab.evaluate("window.hit") is None


def test_a_thousand_destinations_and_a_hundred_thousand_deliveries_open_within_a_second(tab: Any, world: World) -> None:
    build(world, 1000, (7, 300, 990))
    home = world.session().home
    crowded = home.store.read().destinations[500]
    home.joined(home.store.read().destinations)
    for _ in range(100):
        ids = home.new_digits(1000)
        to = (crowded.id,)
        home.queue.accept([Draft(f"evt_{one}", "signal.promoted", to_text(START), PAYLOAD, to) for one in ids])
    home.queue.close()
    with ui(world) as page:
        tab.goto(page.address)
        root = tab.url
        one = f"evt_{ids[7]}"
        lists = ("", f"?q={name(42)}", "?page=30", "failing", "dead", "events")
        paths = (*lists, f"dest/{crowded.id}", f"dest/{crowded.id}?page=100", f"find?id={one}", f"find?id={one[:-1]}")
        took = {}
        for path in paths:
            times = []
            for _ in range(3):
                began = time.monotonic()
                assert tab.goto(f"{root}{path}").status in (200, 400)
                times.append(time.monotonic() - began)
            took[path] = min(times)
        assert {path: seconds for path, seconds in took.items() if seconds > 1} == {}

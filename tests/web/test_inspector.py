"""The page of `ark listen --ui`: requests as they come, in detail, and what is done with them."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from arkcli.actions.requests import as_curl, differences, hex_of
from arkcli.httpd.messages import Request
from arkcli.httpd.server import listen_on, url_of
from arkcli.receiver import plan
from arkcli.receiver.forward import Forwarder
from arkcli.receiver.receiver import Orders, Receiver
from arkcli.signing import Secret, sign
from arkcli.web.inspector import Inspector
from arkcli.web.running import Page, inspector_page
from tests.receiver.running import BODY, SECRET
from tests.started import until
from tests.web.browsing import Browser
from tests.world import TestReceiver, World, answer, receiver

HOSTILE = b'{"event":"<script>alert(1)</script>","note":"</pre><img src=x onerror=alert(1)>"}'


class Listening:
    """A receiver with a page, and a browser that has opened it."""

    def __init__(self, url: str, page: Page, browser: Browser) -> None:
        self.url, self.page, self.browser = url, page, browser

    def post(self, body: bytes = BODY, secret: str = SECRET, **headers: str) -> httpx.Response:
        named = {f"X-SignalArk-{name.title()}": value for name, value in headers.items()}
        signed = {"X-SignalArk-Signature": sign(secret, body), **named}
        return httpx.post(f"{self.url}/hook", content=body, headers=signed, trust_env=False)


@contextmanager
def listening(world: World, answers: str = "200", app: TestReceiver | None = None) -> Iterator[Listening]:
    forwarder = None if app is None else Forwarder(app.url)
    orders = Orders(secrets=lambda: [Secret(SECRET)], plan=plan.parse(answers), forwarder=forwarder)
    inspector = Inspector(orders, world.clock.now, f"{answers}, as planned")
    made, warnings = Receiver(orders, world.clock, inspector.add), list[str]()
    with ExitStack() as stack:
        listeners, beside = ([stack.enter_context(one) for one in listen_on("127.0.0.1", 0)] for _ in range(2))
        inspector.begin(made, lambda number, received: as_curl(number, received, url_of(listeners[0]), None))
        page = inspector_page(inspector, beside, world.session().home, warnings.append)
        stack.callback(page.close)
        stack.enter_context(made.in_background(listeners, [page.entrance]))
        yield Listening(url_of(listeners[0]), page, stack.enter_context(Browser(page.address)))
    assert warnings == []


@pytest.fixture
def open_page(world: World) -> Iterator[Listening]:
    with listening(world) as found:
        yield found


def test_requests_are_listed_with_verdict_and_reason_the_newest_first(open_page: Listening) -> None:
    browser = open_page.browser
    assert "Requests appear here as they come." in browser.get().text
    open_page.post(delivery="evt_1.dst_1", attempt="1")
    open_page.post(secret="wrong")
    open_page.post(delivery="evt_1.dst_1", attempt="2")
    page = browser.get()
    assert page.text.index("#3 ping") < page.text.index("#2 ping") < page.text.index("#1 ping")
    assert "3 requests: 2 valid, 1 invalid, 1 repeated" in page.text
    assert "the signature does not match" in page.text
    assert "this delivery has come 2 times" in page.text
    assert "#2 ping" not in browser.get("?q=valid").text
    assert "#1 ping" not in browser.get("?q=401").text
    assert "No request matches." in browser.get("?q=nothing").text


def test_a_request_is_shown_readable_raw_and_in_hex_with_a_command(open_page: Listening) -> None:
    open_page.post(b'{"event":"ping","a":"\xc3\xa9"}', delivery="evt_1.dst_1")
    page = open_page.browser.get("request/1")
    assert "X-SignalArk-Delivery: evt_1.dst_1" in page.text
    assert '{ "event": "ping", "a": "é" }' in page.text
    assert '{"event":"ping","a":"é"}' in page.text
    assert "00000010 22 61 22 3a 22 c3 a9 22 7d" in page.text
    assert "ark sign" in page.text
    assert "there is no application to send it to" in page.text
    assert open_page.browser.get("request/2").status == 400


def test_attempts_of_one_delivery_are_linked_and_compared(open_page: Listening) -> None:
    open_page.post(delivery="evt_1.dst_1", attempt="1")
    open_page.post(delivery="evt_2.dst_1", attempt="1")
    open_page.post(delivery="evt_1.dst_1", attempt="2")
    page = open_page.browser.get("request/3")
    assert "Other attempts of this delivery" in page.text
    assert "<del>-X-SignalArk-Attempt: 1</del>" in page.html
    assert "<ins>+X-SignalArk-Attempt: 2</ins>" in page.html
    assert "Delivery: evt_1" not in "".join(line for line in page.html.splitlines() if "<ins>" in line)
    assert open_page.browser.click(page, "#1").path.endswith("/request/1")
    assert "Other attempts" not in open_page.browser.get("request/2").text


@pytest.mark.parametrize(("choice", "status"), [("503", 503), ("200", 200), ("plan", 202)])
def test_the_next_answers_are_chosen(world: World, choice: str, status: int) -> None:
    with listening(world, "202") as found:
        page = found.browser.get()
        chosen = found.browser.press(page, "Set", answer=choice)
        assert chosen.notice.startswith("Done: From the next request on: ")
        assert f'value="{choice}" selected' in chosen.html
        assert found.post().status_code == status
        assert found.browser.press(page, "Set", answer="418").status == 400


def test_a_request_is_sent_to_the_application_again_or_edited_and_signed_again(world: World) -> None:
    with receiver(201) as app, listening(world, app=app) as found:
        found.post(b'{"event":"ping","n":1.0}', delivery="evt_1.dst_1")
        found.post(secret="wrong")
        page = found.browser.get("request/1")
        assert found.browser.press(page, "Send it again").notice.startswith("Done: Sent #1 to the application again")
        until(lambda: len(app.requests) == 2)
        form = found.browser.click(page, "Edit and sign again…")
        edited = '{\r\n  "event": "ping",\r\n  "n": 2.0\r\n}\r\n'
        assert "signed again" in found.browser.press(form, "Sign and send it", body=edited).notice
        until(lambda: len(app.requests) == 3)
        assert [one.body for one in app.requests] == [b'{"event":"ping","n":1.0}'] * 2 + [b'{"event":"ping","n":2.0}']
        assert app.requests[2].headers["x-signalark-signature"] == sign(SECRET, app.requests[2].body)
        assert app.requests[2].headers["x-signalark-delivery"] == "evt_1.dst_1"
        until(lambda: "#4 ping" in found.browser.get().text)
        assert "edited" in found.browser.get().text
        assert "Send it again" not in found.browser.get("request/2").text
        assert (
            found.browser.post(f"{found.browser.root}request/2/resend", field=page.forms[0][2]["field"]).status == 400
        )


def test_the_answer_of_the_application_is_shown(world: World) -> None:
    with receiver(lambda _: answer(500, b'{"why": "<b>"}')) as app, listening(world, app=app) as found:
        found.post()
        page = found.browser.get("request/1")
        assert '{ "why": "<b>" }' in page.text
        assert "<b>" not in page.html


def test_a_browser_is_told_when_a_request_has_come(open_page: Listening) -> None:
    browser = open_page.browser
    with browser.client.stream("GET", f"{browser.root}news?seen=0") as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        lines = response.iter_lines()
        open_page.post()
        assert next(line for line in lines if line) == "data: 1"
        open_page.post()
        assert next(line for line in lines if line) == "data: 2"
    # What came after the page was made and before the browser listened is not missed.
    with browser.client.stream("GET", f"{browser.root}news?seen=1") as response:
        assert next(line for line in response.iter_lines() if line) == "data: 2"
    assert httpx.get(f"{browser.origin}{browser.root}news").status_code == 403


def test_a_page_that_waits_for_news_does_not_keep_the_receiver_from_ending(world: World) -> None:
    with listening(world) as found:
        request = found.browser.client.build_request("GET", f"{found.browser.root}news")
        response = found.browser.client.send(request, stream=True)
        began = time.monotonic()
    assert time.monotonic() - began < 1.5
    response.close()


def test_what_comes_is_never_markup(open_page: Listening) -> None:
    open_page.post(HOSTILE, delivery="<script>alert(1)</script>")
    open_page.post(HOSTILE, delivery="<script>alert(1)</script>", attempt="2")
    httpx.post(open_page.url, content=b"\xff<script>alert(1)</script>", headers={"X-A": "<script>alert(1)"})
    for path in ("", "request/1", "request/2", "request/3", "?q=<script>alert(1)"):
        page = open_page.browser.get(path)
        assert page.status == 200
        assert "<script>alert" not in page.html
        assert "<img" not in page.html


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (b"", ""),
        (b"ab\n", "00000000  61 62 0a                                         ab."),
        (b"x" * 16, "00000000  78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78  xxxxxxxxxxxxxxxx"),
    ],
)
def test_hex_has_offsets_and_characters(body: bytes, lines: str) -> None:
    assert hex_of(body) == lines


def test_hex_is_bounded() -> None:
    assert hex_of(b"x" * 5000).splitlines()[-1] == "… 904 more bytes"


def test_requests_that_are_the_same_do_not_differ() -> None:
    request = Request("POST", "/", ((b"A", b"b"),), b'{"a":1}')
    assert differences(request, request) == []
    assert differences(request, Request("POST", "/", ((b"A", b"b"),), b'{"a":2}'))[-3:-1] == ['-  "a": 1', '+  "a": 2']

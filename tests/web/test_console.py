"""The page of `ark ui`, by links and forms alone: what it shows, and each thing that it changes."""

import json
from collections.abc import Callable, Iterator

import msgspec
import pytest

from tests.many import LETTERS, build, name
from tests.web.browsing import Browser, ui
from tests.world import PAYLOAD, TestReceiver, World, answer, receiver


@pytest.fixture
def browser(world: World) -> Iterator[Browser]:
    with ui(world) as page, Browser(page.address) as found:
        yield found


def sent(world: World, *args: str) -> str:
    """Sends an event; returns its id."""
    event_id: str = world.ark("send", "signal.promoted", *args, "--json", stdin=PAYLOAD).json["event"]["id"]
    return event_id


def states(world: World, event_id: str) -> dict[str, str]:
    found = world.ark("queue", "show", event_id, "--json").json["deliveries"]
    return {one["destination"]: one["state"] for one in found}


def killed(world: World, event_id: str) -> None:
    """Lets all attempts at an event fail."""
    for seconds in (30, 300, 1800, 7200):
        world.clock.advance(seconds)
        world.ark("drain")
    assert set(states(world, event_id).values()) == {"dead"}


def test_who_has_only_the_page_adds_pings_sends_sees_why_it_failed_and_delivers(browser: Browser) -> None:
    with receiver(200) as crm:
        start = browser.get()
        assert "There is no destination yet" in start.text
        form = browser.click(start, "Add a destination")
        added = browser.press(form, "Ping it and add it", url=crm.url, name="crm", allow_local="yes")
        assert added.notice.startswith("Done: Added crm: the ping was answered 200 in ")
        assert "A signing secret was made" in added.notice
        assert json.loads(crm.requests[0].body)["event"] == "ping"

        crm.behave = lambda _: answer(500, b'{"error": "database is locked"}')
        story = browser.press(browser.click(added, "Send a sample"), "Send it", payload=PAYLOAD.decode())
        assert "1 retrying" in story.notice
        assert "500 in " in story.text
        assert '{"error": "database is locked"}' in story.text
        assert "database is locked" in browser.get("failing").text

        crm.behave = lambda _: answer(200)
        done = browser.press(story, "Retry now")
        assert done.notice.startswith("Done: crm: delivered, answered 200 in ")
        assert ">delivered</span>" in done.html
        assert browser.get("failing").text.endswith("Nothing fails.")


def test_a_failed_ping_saves_nothing_says_what_to_check_and_keeps_what_was_typed(
    world: World, browser: Browser, receive: Callable[..., TestReceiver]
) -> None:
    url = receive(503).url
    form = browser.get("add")
    refused = browser.press(form, "Ping it and add it", url=url, description="the sales team", allow_local="yes")
    assert refused.status == 422
    assert "Not saved:" in refused.notice
    assert "see whether the application behind it is running" in refused.notice
    assert f'value="{url}"' in refused.html
    assert 'value="the sales team"' in refused.html
    assert world.ark("dest", "list", "--json").json["destinations"] == []
    saved = browser.press(refused, "Ping it and add it", url=url, allow_local="yes", no_ping="yes")
    assert "saved without a ping" in saved.notice


@pytest.mark.parametrize(
    ("url", "said"), [("", "not a URL"), ("http://crm.example/", "is not https"), ("https://10.0.0.1/", "10.0.0.1")]
)
def test_a_url_that_may_not_be_one_is_refused_as_the_command_does(browser: Browser, url: str, said: str) -> None:
    assert said in browser.press(browser.get("add"), "Ping it and add it", url=url).notice


class TestDestination:
    @pytest.fixture
    def crm(self, world: World) -> Iterator[TestReceiver]:
        with receiver(200) as found:
            world.add(found, "crm")
            yield found

    def test_it_is_paused_and_resumed(self, world: World, browser: Browser, crm: TestReceiver) -> None:
        page = browser.click(browser.get(), "crm")
        paused = browser.press(page, "Pause")
        assert "crm: Paused" in paused.notice
        assert world.ark("dest", "show", "crm", "--json").json["destination"]["paused"]
        event = sent(world)
        assert browser.press(browser.get(paused.path), "Resume").notice.startswith("Done: crm: Resumed")
        delivered = browser.press(browser.get(paused.path), "Deliver what is due")
        assert delivered.notice.startswith("Done: Attempted 1: 1 delivered")
        assert states(world, event) == {"crm": "delivered"}

    def test_a_ping_says_what_came_of_it_and_what_to_check(self, browser: Browser, crm: TestReceiver) -> None:
        page = browser.click(browser.get(), "crm")
        assert browser.press(page, "Ping").notice.startswith("Done: The ping was answered 200 in ")
        crm.behave = lambda _: answer(404)
        failed = browser.press(page, "Ping").notice
        assert failed.startswith("Attention: The ping failed: answered 404, not a 2xx.")
        assert "Check the path of the URL" in failed

    def test_its_secret_is_shown_on_request_alone(self, world: World, browser: Browser, crm: TestReceiver) -> None:
        (secret,) = world.shared_secrets()
        page = browser.click(browser.get(), "crm")
        assert secret not in page.html
        assert secret in browser.press(page, "Reveal the secret").html
        assert browser.get(f"{page.path}/secret").status == 404

    def test_it_is_removed_after_a_question(self, world: World, browser: Browser, crm: TestReceiver) -> None:
        crm.behave = lambda _: answer(503)
        sent(world)
        page = browser.click(browser.get(), "crm")
        question = browser.press(page, "Remove…")
        assert "Remove crm, and discard 1 delivery?" in question.text
        assert browser.click(question, "No, change nothing").path == page.path
        assert browser.press(question, "Yes").notice == "Done: Removed crm; 1 delivery was discarded."
        assert world.ark("dest", "list", "--json").json["destinations"] == []
        assert browser.get(page.path).status == 400

    def test_headers_and_a_command_are_as_the_command_line_prints_them(
        self, world: World, browser: Browser, crm: TestReceiver
    ) -> None:
        event = sent(world)
        page = browser.get(f"event/{event}")
        for option in ("--headers", "--curl"):
            printed = world.ark("queue", "show", event, option).out
            assert " ".join(printed.split()) in page.text
        assert f"{len(crm.requests[0].body):,} bytes" in page.text

    @pytest.mark.parametrize("note", ["x" * 70_000, "\N{RIGHT-TO-LEFT OVERRIDE}"])
    def test_a_command_that_could_not_be_copied_whole_is_not_shown(
        self, world: World, browser: Browser, crm: TestReceiver, note: str
    ) -> None:
        payload = json.dumps({**json.loads(PAYLOAD), "note": note}, ensure_ascii=False).encode()
        event = world.ark("send", "signal.promoted", "--json", stdin=payload).json["event"]["id"]
        page = browser.get(f"event/{event}")
        assert f"ark queue show {event} --curl prints a command" in page.text
        assert "Copy the command" not in page.text
        assert "X-SignalArk-Signature: " in page.text

    def test_the_proxy_in_force_is_named_and_the_command_goes_through_it(
        self, world: World, browser: Browser, crm: TestReceiver
    ) -> None:
        event = sent(world)
        page = browser.click(browser.get(), "crm")
        assert "Proxy" not in page.text
        with world.store_file.open("a") as file:
            file.write('\n[network]\nproxy = "http://ann:pass@127.0.0.1:1"\n')
        assert "Proxy http://***@127.0.0.1:1 (of all destinations)" in browser.get(page.path).text
        printed = world.ark("queue", "show", event, "--curl").out
        assert "--proxytunnel" in printed
        assert " ".join(printed.split()) in browser.get(f"event/{event}").text
        world.ark("dest", "set", "crm", "--proxy", "socks5h://127.0.0.1:2", "--no-ping")
        assert "Proxy socks5h://127.0.0.1:2" in (own := browser.get(page.path).text)
        assert "of all destinations" not in own
        assert "--proxy socks5h://127.0.0.1:2" in browser.get(f"event/{event}").text

    def test_its_limits_and_why_ark_paused_it_are_named(
        self, world: World, browser: Browser, crm: TestReceiver
    ) -> None:
        world.ark("dest", "set", "crm", "--rate", "10/s", "--max-in-flight", "3")
        with world.session().home.store.change() as contents:
            (found,) = contents.destinations
            contents.replace(msgspec.structs.replace(found, paused=True, pause_note="failing for 3 days"))
        text = browser.click(browser.get(), "crm").text
        assert "Rate 10/s Maximum in flight 3 Paused failing for 3 days" in text

    def test_standard_webhooks_are_named_and_the_secret_is_shown_as_libraries_take_it_too(
        self, world: World, browser: Browser, crm: TestReceiver
    ) -> None:
        page = browser.click(browser.get(), "crm")
        assert "Standard Webhooks" not in browser.press(page, "Reveal the secret").text
        world.ark("dest", "set", "crm", "--standard-webhooks")
        page = browser.get(page.path)
        assert "Standard Webhooks also sent" in page.text
        shown = world.ark("dest", "show", "crm", "--reveal", "--json").json["destination"]["standard_webhooks_secret"]
        assert shown not in page.html
        assert shown in browser.press(page, "Reveal the secret").html

    def test_the_picture_says_in_words_what_it_draws(self, world: World, browser: Browser, crm: TestReceiver) -> None:
        sent(world)
        crm.behave = lambda _: answer(503)
        sent(world)
        page = browser.get()
        assert 'role="img" aria-label="Last 24 hours: 2 attempts, 1 failed"' in page.html
        assert page.html.count('<rect class="ok"') == page.html.count('<rect class="bad"') == 1


class TestDeliveries:
    @pytest.fixture
    def crm(self, world: World) -> Iterator[TestReceiver]:
        with receiver(500) as found:
            world.add(found, "crm")
            yield found

    def test_a_dead_one_is_retried(self, world: World, browser: Browser, crm: TestReceiver) -> None:
        event = sent(world)
        killed(world, event)
        page = browser.get("dead")
        assert "answered 500, not a 2xx" in page.text
        crm.behave = lambda _: answer(200)
        assert browser.press(page, "Retry now").notice.startswith("Done: crm: delivered")
        assert "No delivery is dead." in browser.get("dead").text

    def test_all_dead_ones_are_retried(self, world: World, browser: Browser, crm: TestReceiver) -> None:
        events = [sent(world), sent(world)]
        killed(world, events[-1])
        crm.behave = lambda _: answer(200)
        assert browser.press(browser.get("dead"), "Retry all").notice.startswith("Done: Attempted 2: 2 delivered")
        assert browser.post(f"{browser.root}dead/retry", field=browser.field).notice.startswith("Done: Nothing to do")

    @pytest.mark.parametrize("where", ["dead", "destination", "event"])
    def test_they_are_discarded_after_a_question(
        self, world: World, browser: Browser, crm: TestReceiver, where: str
    ) -> None:
        event = sent(world)
        killed(world, event)
        page = {
            "dead": lambda: browser.get("dead"),
            "destination": lambda: browser.click(browser.get(), "crm"),
            "event": lambda: browser.get(f"event/{event}"),
        }[where]()
        label = {"dead": "Discard all…", "destination": "Discard all dead ones…", "event": "Discard what is left…"}
        question = browser.press(page, label[where])
        assert "Discard 1 delivery for good?" in question.text
        assert states(world, event) == {"crm": "dead"}
        assert browser.press(question, "Yes").notice == "Done: 1 delivery was discarded."
        assert states(world, event) == {"crm": "dropped"}

    def test_an_event_is_sent_again(self, world: World, browser: Browser, crm: TestReceiver) -> None:
        crm.behave = lambda _: answer(200)
        event = sent(world)
        again = browser.press(browser.get(f"event/{event}"), "Send it again to all")
        assert again.notice.startswith("Done: crm: delivered")
        assert [request.delivery for request in crm.requests] == [crm.requests[0].delivery] * 2

    def test_past_events_are_sent_again_after_a_question(
        self, world: World, browser: Browser, crm: TestReceiver
    ) -> None:
        sent(world)
        sent(world)
        form = browser.click(browser.get("events"), "Send past events again…")
        question = browser.press(form, "Send again…", since="1h", failed="yes")
        assert "Send 2 events again?" in question.text
        assert browser.press(question, "Yes").notice.startswith("Done: Queued again: 2 events.")
        assert browser.press(form, "Send again…", since="soon").status == 400


def test_a_payload_that_breaks_the_contract_is_named_and_stays_in_the_form(
    world: World, browser: Browser, receive: Callable[..., TestReceiver]
) -> None:
    world.add(receive(200), "crm")
    form = browser.get("send?event=social.lead_promoted")
    assert "&#34;engagement&#34;: {" in form.html
    wrong = '{"engagement": {"platform": "<b>"}}'
    refused = browser.press(form, "Send it", payload=wrong)
    assert "$.engagement" in refused.notice
    assert "&lt;b&gt;" in refused.html
    assert world.ark("queue", "--json").json["events"] == 0


def test_an_event_is_found_by_the_beginning_of_its_id(
    world: World, browser: Browser, receive: Callable[..., TestReceiver]
) -> None:
    world.add(receive(200), "crm")
    event = sent(world)
    assert event in browser.get("events").text
    assert browser.get(f"find?id={event[4:]}").path == f"{browser.root}event/{event}"
    missing = browser.get("find?id=evt_none")
    assert (missing.status, "no event in the queue has the id" in missing.text) == (400, True)


def test_what_others_send_meanwhile_is_found(
    world: World, browser: Browser, receive: Callable[..., TestReceiver]
) -> None:
    world.add(receive(200), "crm")
    for number in range(3):
        event = sent(world, "--id", f"order-{number}")
        assert browser.get(f"find?id={event}").path == f"{browser.root}event/{event}"
        assert event in browser.get("events").text
        assert ">delivered</span>" in browser.get(f"event/{event}").html


def test_lists_are_paged_and_searched(world: World) -> None:
    build(world, 60, (7, 30, 59))
    with ui(world) as page, Browser(page.address) as browser:
        first = browser.get()
        assert first.text.index(name(7)) < first.text.index(name(0))
        assert "Page 1 of 3" in first.text
        last = browser.get("?page=3")
        assert "After" not in "".join(last.links)
        assert name(58) in last.text
        assert browser.get("?page=99999999999999").status == 200
        found = browser.get("?q=CUSTOMER-0042")
        assert name(42) in found.text
        assert name(41) not in found.text
        dead = browser.get("dead?page=2")
        assert dead.html.count(">Retry now<") == 25
        assert browser.get("dead?page=3").html.count(">Retry now<") == 3 * LETTERS - 50


def test_what_cannot_be_read_is_said_and_the_rest_is_shown(
    world: World, browser: Browser, receive: Callable[..., TestReceiver]
) -> None:
    for named in ("crm", "lake"):
        world.add(receive(200), named)
    sent(world)
    (journal, _) = sorted((world.queue_directory / "destinations").glob("*/journal"))
    for segment in journal.iterdir():
        segment.unlink()
    journal.rmdir()
    journal.write_text("")
    page = browser.get()
    assert page.status == 200
    assert "is left out:" in page.notice
    assert ">unreadable</span>" in page.html
    assert "lake" in page.links
    world.store_file.write_text("version = ")
    broken = browser.get()
    assert (broken.status, "destinations.toml" in broken.text) == (400, True)

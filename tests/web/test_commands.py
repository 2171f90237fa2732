"""`ark ui`, `ark listen --ui` and `ark serve --ui` as processes: what they print, open and leave behind."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from arkcli.signing import sign
from tests.started import started, until
from tests.web.browsing import Browser
from tests.world import PAYLOAD, TestReceiver, World


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_the_first_line_is_the_address_and_a_signal_ends_it(
    world: World, crm: TestReceiver, number: int, status: int
) -> None:
    with started(world, "ui", "--no-open", "--json") as page:
        assert page.printed.keys() == {"ui"}
        with Browser(page.printed["ui"]) as browser:
            assert "crm" in browser.get().links
        assert page.stop(number) == (status, "", "")


def test_it_opens_a_browser_with_an_address_that_works_once(world: World, tmp_path: Path) -> None:
    script, told = tmp_path / "browser", tmp_path / "told"
    script.write_text(f'#!/bin/sh\nprintf %s "$1" > {told}.part && mv {told}.part {told}\n')
    script.chmod(0o700)
    with started(world, "ui", "--json", BROWSER=f"{script} %s") as page:
        until(told.exists)
        opened = told.read_text()
        assert opened != page.printed["ui"]
        assert [httpx.get(opened).status_code for _ in range(2)] == [303, 403]
        assert httpx.get(page.printed["ui"]).status_code == 303


def test_without_a_screen_it_asks_to_open_the_address(world: World) -> None:
    result = subprocess.run(
        [sys.executable, "-c", "import sys; from arkcli.system.browser import open_page; print(open_page('x', {}))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "False\n" or Path("/usr/bin/osascript").exists()


def test_what_is_received_is_on_the_page_of_listen(world: World) -> None:
    with started(world, "listen", "--port", "0", "--ui", "--no-open", "--secret", "s3cret", "--json") as page:
        assert page.printed.keys() == {"listening", "ui"}
        body = b'{"event":"ping"}'
        signed = {"X-SignalArk-Signature": sign("s3cret", body)}
        assert httpx.post(page.printed["listening"], content=body, headers=signed).status_code == 200
        with Browser(page.printed["ui"]) as browser:
            assert "#1 ping" in browser.get().text
        assert httpx.get(page.printed["listening"] + "/?token=x").text.startswith("This is `ark listen`")
        status, out, _ = page.stop(signal.SIGINT)
    assert status == 130
    assert json.loads(out)["valid"] is True


def test_a_service_has_the_page_beside_it(world: World, crm: TestReceiver) -> None:
    with started(world, "serve", "--port", "0", "--ui", "--json") as page:
        assert page.printed.keys() == {"listening", "ui"}
        with Browser(page.printed["ui"]) as browser:
            sent = browser.press(browser.get("send"), "Send it", payload=PAYLOAD.decode())
            assert "1 delivered" in sent.notice
            assert httpx.get(f"{page.printed['listening'][0]}{browser.root}").status_code == 401
        assert httpx.get(f"{page.printed['listening'][0]}/healthz").json()["ok"]
        assert page.stop()[0] == 0
    assert len(crm.requests) == 1


def test_a_host_that_is_not_here_is_named(world: World) -> None:
    result = world.ark("ui", "--host", "192.0.2.1")
    assert (result.status, "cannot listen on 192.0.2.1" in result.err) == (2, True)

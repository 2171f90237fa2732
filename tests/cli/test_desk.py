"""The keys of `ark listen`: a real terminal, a real application behind it, and a real shell before it."""

import hashlib
import hmac
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from arkcli.cli.desk import keys_in
from arkcli.signing import Secret, sign
from arkcli.signing.scheme import STANDARD
from arkcli.system.clock import SystemClock
from tests.keyboard import OnATerminal, editor
from tests.world import Request, TestReceiver, World, answer, receiver

SECRET = "s3cret"
BODY = b'{"event":"signal.promoted","signal":{"id":"sig_1","icp_score":87.50}}'
ARK = f"{sys.executable} -m arkcli"


def verifies(request: Request) -> bytes:
    """An application that checks the signature as docs/receivers.md says, and finds the second event's account."""
    right = hmac.new(SECRET.encode(), request.body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(right, request.signature):
        return answer(401, b"wrong signature")
    return answer(500, b'{"error": "no account \x1b[2Jacc_1"}') if b"sig_1" in request.body else answer(202)


@pytest.fixture
def application() -> Iterator[TestReceiver]:
    with receiver(verifies) as made:
        yield made


class Desk:
    """`ark listen` on a terminal."""

    def __init__(self, world: World, *args: str, columns: int = 80, **variables: str) -> None:
        command = [*ARK.split(), "listen", "--port", "0", "--secret", SECRET, *args]
        self.terminal = OnATerminal(command, {**world.variables, **variables}, columns)
        self.started = self.terminal.until(r"press \? for the keys")
        self.url = re.findall(r"listening on (\S+)", self.started)[0]

    def post(self, body: bytes = BODY, signature: str | None = None, remark: bytes = b"") -> int:
        headers = {
            b"X-SignalArk-Signature": (signature or sign(SECRET, body)).encode(),
            b"X-SignalArk-Delivery": b"evt_019ab3c4d5e6f7a8b9c0d1e2f3a4.dst_019ab3c4d5e6f7a8b9c0d1e2f3a4",
            b"X-SignalArk-Attempt": b"1",
            b"X-Remark": remark,
            b"Authorization": b"Bearer credential",
        }
        return httpx.post(self.url, content=body, headers=headers, trust_env=False).status_code

    def press(self, keys: str, then: str) -> str:
        """What is shown after these keys, up to a match of the pattern."""
        self.terminal.press(keys)
        return self.terminal.until(then)

    def ends(self, keys: str = "") -> int:
        """Its exit status. The terminal has to be as it was."""
        self.terminal.press(keys)
        status = self.terminal.wait()
        assert self.terminal.modes() == self.terminal.before
        return status


Start = Callable[..., Desk]


@pytest.fixture
def desk(world: World) -> Iterator[Start]:
    """Starts receivers that are killed when the test ends."""
    begun: list[Desk] = []

    def start(*args: str, columns: int = 80, **variables: str) -> Desk:
        begun.append(Desk(world, *args, columns=columns, **variables))
        return begun[-1]

    yield start
    for one in begun:
        one.terminal.close()


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("rd", ["r", "d"]),
        ("\x1b[A\x1bOB", ["k", "j"]),
        ("\x1b", ["\x1b"]),
        ("\x1b[1;5C\x1b[3~x", ["x"]),
        ("é\n", ["é", "\n"]),
        ("", []),
    ],
)
def test_arrows_are_keys_and_other_sequences_are_none(text: str, keys: list[str]) -> None:
    assert keys_in(text) == keys


def test_the_selected_request_goes_to_the_application_again_which_verifies_it(
    desk: Start, application: TestReceiver
) -> None:
    one = desk("--forward-to", str(application.port))
    assert "press ? for the keys" in one.started
    assert one.press("r", "no request has come yet")

    assert one.post(remark=b"\x9b2J") == 500
    row = one.terminal.until("no account  ?.*acc_1")
    assert re.search(r"1  \d\d:\d\d:\d\d  signal\.promoted +valid +1  500 +\d+ ms  019ab3c4d5e6\n", row)
    assert "\x1b[2J" not in row
    assert one.press("r", r"(?s)sending #1 to .*  2  .*resent.*500.*acc_1")
    came, again = application.requests
    assert (again.body, again.signature, again.line) == (came.body, came.signature, came.line)
    assert again.headers == came.headers

    # A forged request is not forwarded by this key either.
    assert one.post(signature="0" * 64) == 401
    one.terminal.until("does not match")
    assert one.press("r", "#3 is invalid, and goes on only with --forward-unverified; edit it to sign it again")
    assert len(application.requests) == 2

    assert one.press("k", "selected #2: signal.promoted, resent, 500")
    assert one.press("\x1b[A", "selected #1: signal.promoted, valid, 500")
    told = one.press("d", r"(?s)#1: signal\.promoted, valid, 500.*The application answered 500.*acc_1")
    for said in (
        "attempt 1 of delivery",
        "POST / HTTP/1.1",
        f"X-SignalArk-Signature: {came.signature}",
        r"X-Remark: \x9b2J",
    ):
        assert said in told
    assert '\n      "signal": {\n        "id": "sig_1",\n        "icp_score": 87.50\n' in told
    assert "\x9b" not in told

    one.press("c", "#1 cannot be copied: it is not plain text")
    one.press("jj", "selected #3, the newest: signal.promoted, invalid, 401")
    copied = one.press("c", r"(?s)# #3 signal\.promoted\n.*it signs with ARK_SECRET")
    assert f"--url http://127.0.0.1:{application.port}/" in copied
    assert '"X-SignalArk-Signature: $signature"' in copied
    assert "0" * 64 not in copied
    assert "credential" not in copied
    assert "\x1b]52;c;" in copied
    helped = one.press("?", "q .*Ctrl-C")
    for key in "redc12345/":
        assert f"\n  {key}    " in helped
    assert one.ends("q") == 0


def test_an_old_request_goes_to_the_application_again_with_a_time_that_it_accepts(
    desk: Start, application: TestReceiver
) -> None:
    one = desk("--forward-to", str(application.port))
    sent_at = SystemClock().now() // 1000 - 250
    values = STANDARD.signer(Secret(SECRET))("evt_1", sent_at, BODY)
    headers = {**dict(zip(STANDARD.headers, values, strict=True)), "X-SignalArk-Signature": sign(SECRET, BODY)}
    assert httpx.post(one.url, content=BODY, headers=headers, trust_env=False).status_code == 500
    one.terminal.until("acc_1")
    one.press("r", r"(?s)sending #1 to .*  2  .*resent.*500.*acc_1")
    came, again = application.requests
    assert (again.body, again.signature, again.headers["webhook-id"]) == (came.body, came.signature, "evt_1")
    assert came.headers["webhook-timestamp"] == str(sent_at)
    assert int(again.headers["webhook-timestamp"]) >= sent_at + 250
    one.press("kk", "selected #1")
    assert "X-SignalArk-Signature valid, webhook-signature valid" in one.press("d", "(?s)#1: .*acc_1")
    assert "ark sign --webhook-id evt_1" in one.press("c", "it signs with ARK_SECRET")
    assert one.ends("q") == 0


def test_an_edited_body_is_signed_again_and_the_application_verifies_it(
    desk: Start, application: TestReceiver, tmp_path: Path
) -> None:
    one = desk("--forward-to", str(application.port), VISUAL=editor(tmp_path, 'sed -i.old s/sig_1/sig_2/ "$1"'))
    assert one.post() == 500
    one.terminal.until("acc_1")
    assert one.press("e", r"(?s)sending #1, edited and signed again.*  2  .*edited +1  202")
    came, edited = application.requests
    assert edited.body == came.body.replace(b"sig_1", b"sig_2")
    assert edited.signature == sign(SECRET, edited.body) != came.signature
    kept = {name: value for name, value in came.headers.items() if name != "x-signalark-signature"}
    assert kept.items() <= edited.headers.items()
    assert one.ends("\x03") == 130


def test_an_editor_has_the_terminal_and_gives_it_back_however_it_ends(
    desk: Start, application: TestReceiver, tmp_path: Path
) -> None:
    waits = 'stty raw -echo; echo open $$; until [ -e "$0.end" ]; do sleep .02; done; exit 0'
    command = editor(tmp_path, f'[ -e "$0.end" ] && exit 3\nstty -a | grep -c " icanon.* echo "\n{waits}')
    one = desk("--forward-to", str(application.port), EDITOR=command)
    one.post()
    one.terminal.until("acc_1")
    own = one.terminal.modes()

    shown = one.press("e", r"open \d+")
    # The terminal was as usual, and what comes meanwhile is shown afterwards. Ctrl-C is the editor's.
    assert "1\n" in shown
    assert one.post() == 500
    one.terminal.process.send_signal(signal.SIGINT)
    pid = int(shown.split()[-1])
    os.kill(pid, signal.SIGKILL)
    assert one.terminal.until(r"(?s)  2  .*acc_1.*killed by signal 9; nothing is sent")
    assert one.terminal.modes() == own

    one.press("e", r"open \d+")
    (tmp_path / "an editor.end").touch()
    one.terminal.until("nothing was saved, so nothing is sent")
    one.press("e", "the editor ended with 3; nothing is sent")
    assert one.terminal.modes() == own
    assert len(application.requests) == 2

    (tmp_path / "an editor.end").unlink()
    one.press("e", r"open \d+")
    one.terminal.process.send_signal(signal.SIGTERM)
    assert one.ends() == 130


def test_the_next_answers_are_what_was_pressed_until_the_plan_is_back(desk: Start, application: TestReceiver) -> None:
    one = desk("--forward-to", str(application.port))
    body = b'{"event":"ping"}'
    assert one.post(body) == 202
    one.press("2", "from the next request on: 503")
    assert one.post(body) == 503
    one.press("1", "from the next request on: 200")
    assert one.post(body) == 200
    assert one.post(body, signature="0" * 64) == 401
    one.press("3", "from the next request on: timeout")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(one.url, content=body, headers={"X-SignalArk-Signature": sign(SECRET, body)}, timeout=0.1)
    one.press("4", "from the next request on: reset")
    with pytest.raises(httpx.ReadError):
        one.post(body)
    one.press("5", "from the next request on: what the application answers")
    assert one.post(body) == 202
    assert len(application.requests) == 2


def test_a_filter_shows_what_matches_and_its_prompt_is_not_written_into(desk: Start) -> None:
    one = desk("--plan", "503,200")
    one.post()
    one.terminal.until("503")
    assert one.press("e", "there is no application")
    one.press("/", "filter: ")
    assert one.post(b'{"event":"ping"}') == 200
    typed = one.press("pinh\x7fg", "filter: ping")
    assert "signal.promoted" not in typed
    shown = one.press("\n", r"(?s)  2  .*ping +valid.*filter ping: 1 of 2 requests so far")
    assert "\x1b[K  #" not in shown
    one.post()
    one.post(b'{"event":"ping"}')
    assert "  3  " not in one.terminal.until("  4  .*ping")
    assert one.press("k", "selected #2: ping, valid, 200")
    one.press("/", "filter: ")
    assert one.press("\x1b", "no filter: every request is shown")
    one.press("5", "from the next request on: 503,200, as planned")
    one.press("/", "filter: ")
    one.post()
    assert one.ends("\x03") == 130
    assert re.search(r"  5  .*200.*\n(.*\n)+5 requests: 5 valid", one.terminal.rest())


def test_started_in_the_background_it_receives_and_in_the_foreground_it_has_keys(world: World, tmp_path: Path) -> None:
    """Bash with job control, which does not tell a running job that it is in the foreground now."""
    shell = OnATerminal(["bash", "--norc", "-i"], {**world.variables, "PS1": "$ "})
    try:
        shell.press(f"stty -a > {tmp_path}/before; {ARK} listen --port 0 --secret {SECRET} & echo begun\n")
        started = shell.until(r"press \? for the keys")
        ((pid, url),) = re.findall(r"(?s)\[1\] (\d+)\n.*listening on (\S+)", started)

        def post() -> None:
            httpx.post(url, content=BODY, headers={"X-SignalArk-Signature": sign(SECRET, BODY)}, trust_env=False)
            shell.until("signal.promoted +valid.*200")

        post()
        shell.press("jobs\n")
        shell.until(r"\[1\]\+ +Running")
        shell.press("fg\n")
        shell.until("arkcli listen")
        shell.until_it_has_other_modes()
        shell.press("d")
        shell.until("#1: signal.promoted, valid, 200")
        shell.press("\x1a")
        shell.until(r"\[1\]\+ +Stopped")
        shell.press(f"stty -a | diff {tmp_path}/before - && echo same\n")
        shell.until("\nsame")
        shell.press("bg\n")
        post()
        shell.press("echo typed\n")
        shell.until("\ntyped")
        shell.press("fg\n")
        shell.until("\n.*arkcli listen.*\n")
        shell.until_it_has_other_modes()
        shell.press("k")
        shell.until("selected #1: ")
        # No process notices this signal.
        os.kill(int(pid), signal.SIGSTOP)
        shell.until(r"\[1\]\+ +Stopped")
        shell.press("fg\n")
        shell.until("\n.*arkcli listen.*\n")
        shell.until_it_has_other_modes()
        shell.press("j")
        shell.until("selected #2, the newest")
        shell.press("\x03")
        shell.until("2 requests: 2 valid")
        shell.press(f"stty -a | diff {tmp_path}/before - && echo same again; exit\n")
        shell.until("\nsame again")
    finally:
        shell.close()

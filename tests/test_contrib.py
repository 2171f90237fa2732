"""The examples in contrib/ that alert somebody: Prometheus's rules, and commands for [alerts]."""

import json
import shutil
import subprocess
from collections.abc import Callable
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from arkcli.actions import metrics
from tests.actions.test_alerts import set_up
from tests.world import PAYLOAD, TestReceiver, World

ROOT = Path(__file__).parent.parent
RULES = ROOT / "contrib" / "prometheus" / "ark.rules.yml"
CASES = Path(__file__).parent / "fixtures" / "ark.rules.test.yml"
Receive = Callable[..., TestReceiver]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize("command", ["check", "test"])
def test_prometheus_accepts_the_rules_and_raises_what_they_promise(command: str, tmp_path: Path) -> None:
    cases = tmp_path / "cases.yml"
    cases.write_text(CASES.read_text("utf-8").replace("RULES", str(RULES)), "utf-8")
    done = subprocess.run(
        ["promtool", command, "rules", RULES if command == "check" else cases],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_metric_of_the_rules_is_one_of_ark_s_or_of_node_exporter() -> None:
    words = set(RULES.read_text("utf-8").replace("(", " ").replace("{", " ").split())
    assert {word for word in words if word.startswith("ark_")} <= metrics._HELP.keys()


def fail_for_a_minute(world: World, receive: Receive, command: str) -> str:
    """Sets an alert command up and has it told of a failure; returns what the run warns of."""
    world.add(receive(503), "crm")
    set_up(world, command, "after=1m")
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    world.clock.advance(61)
    return world.ark("drain", "--quiet").err


def test_the_mail_says_what_fails_since_when_and_why(world: World, receive: Receive, tmp_path: Path) -> None:
    sendmail = tmp_path / "sendmail"
    sendmail.write_text(f'#!/bin/sh\necho "$*" >{tmp_path}/arguments; cat >{tmp_path}/mail\n')
    sendmail.chmod(0o755)
    world.variables["SENDMAIL"] = str(sendmail)
    assert fail_for_a_minute(world, receive, f"{ROOT}/contrib/alerts/mail ops@example.com") == ""
    mail = message_from_bytes((tmp_path / "mail").read_bytes(), policy=policy.default)
    assert (mail["To"], mail["Subject"]) == ("ops@example.com", "ark: crm failing")
    assert "crm has failed since 2026-11-18T11:06:40" in mail.as_string()
    assert "error: answered 503, not a 2xx" in mail.as_string()
    assert (tmp_path / "arguments").read_text() == "-t -oi\n"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("status", [200, 500])
def test_the_chat_gets_a_message_and_a_failure_is_told_of(
    world: World, receive: Receive, tmp_path: Path, status: int
) -> None:
    chat, config = receive(status), tmp_path / "chat.curl"
    config.write_text(f'url = "{chat.url}"\n')
    said = fail_for_a_minute(world, receive, f"{ROOT}/contrib/alerts/chat {config}")
    assert ("the alert command for crm ended with 22" in said) is (status == 500)
    assert json.loads(chat.requests[0].body)["text"].startswith("crm has failed since 2026-11-18T11:06:40")

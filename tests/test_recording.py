"""The recording in README.md is ark's real output: the session is run against a real receiver."""

import re
from collections.abc import Callable
from pathlib import Path

from arkcli.signing import sign
from arkcli.text import folded
from tests.world import PAYLOAD, TestReceiver, World, in_turn

README = Path(__file__).parent.parent / "README.md"
URL = "https://hooks.example.com/signalark"
COLUMNS = 98
#: What stands for the random part of an id.
RANDOM = {"dst": "9f3a61c08e5b7d24", "evt": "4b0e8d2f7c619a35"}


def recorded(world: World, receiver: TestReceiver, directory: Path) -> str:
    """The session's output, with everything that varies between runs replaced."""
    payload = directory / "payload.json"
    payload.write_bytes(PAYLOAD)
    shown: list[str] = []

    def play(*words: str, options: tuple[str, ...] = (), columns: int = COLUMNS) -> None:
        real = [{URL: receiver.url, "payload.json": str(payload)}.get(word, word) for word in words]
        text = world.on_a_terminal(*real, *options, columns=columns, NO_COLOR="1")
        text = text.replace(receiver.url, URL).replace(str(world.store_file), "~/.config/ark/destinations.toml")
        text = re.sub(r"(dst|evt)_[0-9a-f]{12}[0-9a-f]{16}", lambda id: f"{id[1]}_01a1ee565e00{RANDOM[id[1]]}", text)
        text = re.sub(r"\b\d+ ms( {2,})?", lambda took: "4 ms" + "  " * bool(took[1]), re.sub("took +", "took  ", text))
        lines = [folded(line.rstrip(), COLUMNS, "  ") for line in text.splitlines() if "--allow-local" not in line]
        shown.append("\n".join([f"$ ark {' '.join(words)}", *lines]))

    # Its lines are broken here: the real path is longer than the one that is shown.
    play("dest", "add", URL, "--name", "crm", options=("--allow-local",), columns=400)
    play("send", "signal.promoted", "payload.json")
    world.clock.advance(10)
    play("queue")
    world.clock.advance(20)
    shown.append("# 20 seconds later, run by cron")
    play("drain")
    play("queue")
    return "\n\n".join(shown) + "\n"


def test_the_recording_is_what_is_shown(world: World, receive: Callable[..., TestReceiver], tmp_path: Path) -> None:
    receiver = receive(in_turn(200, 503, 200))
    played = recorded(world, receiver, tmp_path)
    (kept,) = re.findall(r"<!-- recording -->\n```text\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert kept == played, f"put this into README.md:\n{played}"
    ping, first, second = receiver.requests
    assert (first.body, first.signature) == (second.body, second.signature)
    secret = world.ark("secret", "show", "--reveal").out.strip()
    assert ping.signature == sign(secret, ping.body)

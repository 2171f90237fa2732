"""What a terminal shows after work for several destinations of which nearly all do well."""

from collections.abc import Callable

import pytest

from tests.world import TestReceiver, World

WELL = [f"c{number}" for number in range(6)]


@pytest.fixture
def several(world: World, receive: Callable[..., TestReceiver]) -> World:
    """A home with six destinations that answer, one that refuses connections, and one that is paused."""
    url = receive().url
    for name in (*WELL, "paused-one"):
        world.ark("dest", "add", f"{url}/{name}", "--name", name, "--allow-local", "--no-ping")
    world.ark("dest", "add", "http://127.0.0.1:9/", "--name", "acme", "--allow-local", "--no-ping")
    world.ark("dest", "pause", "paused-one")
    return world


def first_words(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines() if line and not line.startswith(" ")]


def shown(world: World, *args: str) -> str:
    return world.on_a_terminal(*args, columns=80, NO_COLOR="1")


def test_a_send_lists_those_that_need_attention_and_counts_the_rest(several: World) -> None:
    text = shown(several, "send", "signal.promoted", "--sample")
    assert "\n6 destinations: delivered\n" in text
    assert not set(WELL) & set(first_words(text))
    assert "\nacme         retrying  no connection: connection refused  " in text
    assert "\npaused-one   waiting   paused " in text


def test_a_drain_does_so_too(several: World) -> None:
    several.ark("send", "signal.promoted", "--sample", "--queue")
    text = shown(several, "drain")
    assert "\n6 destinations: all delivered\n" in text
    assert not set(WELL) & set(first_words(text))
    assert "\nacme         0          1         0" in text


def test_a_pipe_has_a_row_for_each_destination(several: World) -> None:
    rows = several.ark("send", "signal.promoted", "--sample").out.splitlines()
    assert [row.split("\t")[0] for row in rows] == [*WELL, "paused-one", "acme"]
    assert len(several.ark("doctor").out.splitlines()) > len(rows)


def test_the_doctor_counts_those_that_it_reached(several: World) -> None:
    lines = [line for line in shown(several, "doctor").splitlines() if "  destination" in line]
    assert lines[0].startswith("fail  destination acme: ")
    assert lines[1] == "pass  destinations: 7 reached"


@pytest.mark.parametrize("columns", [50, 80])
@pytest.mark.parametrize("args", [(), ("demo",), ("send", "signal.promoted", "--sample", "--id", "one")])
def test_a_sentence_is_broken_between_words(args: tuple[str, ...], columns: int, several: World) -> None:
    several.ark("send", "signal.promoted", "--sample", "--id", "one", "--queue")
    lines = several.on_a_terminal(*args, columns=columns, NO_COLOR="1").splitlines()
    assert [line for line in lines if len(line) > columns and " " in line.strip()] == []

"""`ark secret`: masked unless revealed."""

from pathlib import Path

import pytest

from arkcli import times
from arkcli.signing import sign
from tests.world import World


def test_there_is_none_before_the_first(world: World) -> None:
    result = world.ark("secret", "show")
    assert result.status == 2
    assert "ark secret rotate" in result.err


def test_rotate_makes_one_and_shows_it_only_when_asked(world: World) -> None:
    hidden = world.ark("secret", "rotate", "--json").json
    assert hidden == {"secret": "***", "source": str(world.store_file)}
    first = world.ark("secret", "show", "--reveal", "--json").json["secret"]
    second = world.ark("secret", "rotate", "--reveal", "--json").json["secret"]
    assert first != second
    assert first.startswith("arksec_")
    assert len(first) == len("arksec_") + 64
    shown = world.ark("secret", "show")
    assert "***" in shown.out
    assert second not in shown.out + shown.err


def test_set_takes_standard_input_or_a_file(world: World, tmp_path: Path) -> None:
    world.ark("secret", "set", stdin=b"from-stdin\n")
    assert world.ark("secret", "show", "--reveal").out == "from-stdin\n"
    (tmp_path / "secret").write_text("from-file\n")
    world.ark("secret", "set", "--secret-file", str(tmp_path / "secret"))
    assert world.ark("secret", "show", "--reveal").out == "from-file\n"


def test_it_may_stand_in_the_environment_or_in_a_file(world: World, tmp_path: Path) -> None:
    world.variables["MY_SECRET"] = "in the environment"
    world.ark("secret", "set", stdin=b"env:MY_SECRET")
    assert world.ark("secret", "show", "--reveal", "--json").json == {
        "secret": "in the environment",
        "source": "env:MY_SECRET",
    }
    (tmp_path / "secret").write_text("in a file\n")
    world.ark("secret", "set", stdin=f"file:{tmp_path}/secret".encode())
    assert world.ark("secret", "show", "--reveal").out == "in a file\n"
    assert "in a file" not in world.store_file.read_text()


@pytest.mark.parametrize("given", [b"", b"\n", b"a\nb", b"\xff\xfe", b"env:NO_SUCH_VARIABLE", b"file:/no/such/file"])
def test_what_cannot_be_a_secret_changes_nothing(world: World, given: bytes) -> None:
    world.ark("secret", "set", stdin=b"before")
    assert world.ark("secret", "set", stdin=given).status == 2
    assert world.ark("secret", "show", "--reveal").out == "before\n"


@pytest.mark.parametrize("words", [("rotate",), ("set", "--secret-file", "given")])
def test_on_a_terminal_a_secret_in_use_is_replaced_only_after_a_yes_and_is_kept(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "given").write_text("another\n")
    world.ark("secret", "set", stdin=b"in use")
    world.ark("dest", "add", "https://a.example/", "--no-ping")

    refused = world.answered(b"n\n", "secret", *words)
    assert "1 destination is signed with the current secret, and receivers refuse another. Replace it?" in refused.err
    assert (refused.status, world.ark("secret", "show", "--reveal").out) == (130, "in use\n")
    assert "previous" not in world.store_file.read_text()

    done = world.answered(b"y\n", "secret", *words)
    assert (done.status, "your receivers need the new secret" in done.err) == (0, True)
    assert world.ark("secret", "show", "--reveal").out != "in use\n"
    assert 'previous = "in use"' in world.store_file.read_text()


def test_it_asks_nothing_with_yes_without_a_terminal_or_where_no_destination_uses_the_secret(world: World) -> None:
    world.ark("secret", "set", stdin=b"one")
    assert world.answered(b"", "secret", "rotate").status == 0
    world.ark("dest", "add", "https://a.example/", "--no-ping")
    assert world.answered(b"", "secret", "rotate", "--yes").status == 0
    assert world.ark("secret", "rotate").status == 0
    # The same once more replaces nothing.
    same = world.ark("secret", "show", "--reveal").out.encode()
    before = world.store_file.read_text()
    assert world.ark("secret", "set", stdin=same).err == ""
    assert world.store_file.read_text() == before


def test_what_was_signed_with_the_secret_before_is_explained(world: World) -> None:
    world.ark("secret", "set", stdin=b"the old one")
    world.ark("secret", "rotate")
    told = world.ark("verify", "--explain", "--signature", sign("the old one", b"{}"), stdin=b"{}")
    assert "with a different secret from the one given: the shared secret before the last change" in told.err
    until = times.to_text(world.clock.now())
    world.ark("secret", "rotate")
    told = world.ark("verify", "--explain", "--signature", sign("the old one", b"{}"), stdin=b"{}")
    assert f"with a different secret from the one given: the shared secret until {until}" in told.err

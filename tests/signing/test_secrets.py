"""Reading signing secrets: from a setting, the session or a file."""

import os
from pathlib import Path

import pytest

from arkcli.errors import UsageError
from arkcli.signing import Secret
from arkcli.signing.secrets import PROXY, SIGNING, TOKEN, SecretFiles, read_secret_file, reference, resolve_secret
from tests.world import World


def test_a_secret_is_what_stands_there_or_a_variables_value_or_a_files_content(tmp_path: Path) -> None:
    file = tmp_path / "secret.txt"
    file.write_bytes(b" \n s3cret with space \r\n")
    for text, key in (
        ("arksec_1", b"arksec_1"),
        ("with:colon", b"with:colon"),
        ("envy", b"envy"),
        ("env:HOOK", b"from the environment "),
        (f"file:{file}", b"s3cret with space"),
    ):
        assert resolve_secret(Secret(text), {"HOOK": "from the environment "}, "it").reveal() == key


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("env:EMPTY", "the secret is empty; give it a value"),
        ("env:MISSING", "the secret is env:MISSING, but MISSING is not in the environment; export it"),
        ("env:", "the secret is env:, but  is not in the environment; export it"),
        ("file:/missing/secret", "the secret file /missing/secret cannot be read: No such file or directory"),
        ("file:/", "the secret file / cannot be read: Is a directory"),
        ("file:/dev/null", "the secret file /dev/null is empty; write the signing secret into it"),
        ("file:~nobody-of-this-name/secret", "the secret file ~nobody-of-this-name/secret cannot be read"),
    ],
)
def test_a_secret_that_cannot_be_had_is_a_usage_error(text: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        resolve_secret(Secret(text), {"EMPTY": ""}, "the secret")
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \r\n\n", "is empty"),
        (b"first\nsecond\n", "has several lines"),
        (b"-----BEGIN PRIVATE KEY-----\r\nMIIB\r\n-----END PRIVATE KEY-----\r\n", "not a PEM key or certificate"),
        (b"x" * 4097, "has more than 4,096 bytes"),
    ],
)
def test_a_secret_is_one_line_in_a_file_and_on_standard_input(
    world: World, tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(UsageError, match=said):
        read_secret_file(tmp_path / "secret")
    result = world.ark("secret", "set", stdin=content)
    assert (result.status, said in result.err) == (2, True)


@pytest.mark.parametrize("what", [SIGNING, TOKEN, PROXY])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "the {kind} file {file} cannot be read: No such file or directory"),
        (b"", "the {kind} file {file} is empty; write the {what} into it"),
        (b"one\ntwo\n", "the {kind} file {file} has several lines; a {what} is one line, not a PEM key or certificate"),
        (b"x" * 4097, "the {kind} file {file} has more than 4,096 bytes; a {what} is one line"),
    ],
)
def test_an_error_about_a_file_says_what_belongs_into_it(
    tmp_path: Path, content: bytes | None, said: str, what: str
) -> None:
    file = tmp_path / "it"
    if content is not None:
        file.write_bytes(content)
    said = said.format(kind=what.removeprefix("signing ").removeprefix("bearer "), file=file, what=what)
    for read in (read_secret_file, Reading().files.read):
        with pytest.raises(UsageError) as raised:
            read(file, what)
        assert str(raised.value) == said


@pytest.mark.parametrize("raw", [b"\xff\xfe\x80", b"caf\xe9", b"\x0b" * 20, b"\x0ckey\x0b", b"\x1c\x85"], ids=ascii)
def test_a_secret_need_not_be_text_wherever_it_stands(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "secret").write_bytes(raw)
    assert resolve_secret(Secret(f"file:{tmp_path}/secret"), {}, "it").reveal() == raw
    assert resolve_secret(Secret("env:HOOK"), {"HOOK": os.fsdecode(raw)}, "it").reveal() == raw


@pytest.mark.parametrize(
    ("setting", "shown"),
    [("env:HOOK", "env:HOOK"), ("file:~/it", "file:~/it"), ("arksec_1", None), ("envy", None), ("a:env", None)],
)
def test_only_what_refers_to_a_secret_may_be_shown(setting: str, shown: str | None) -> None:
    assert reference(Secret(setting)) == shown


@pytest.mark.parametrize("around", [b"", b"\n", b"\r\n", b" \t\n\n"])
def test_what_stands_around_a_secret_does_not_count_as_its_length(tmp_path: Path, around: bytes) -> None:
    (tmp_path / "secret").write_bytes(b"x" * 4096 + around)
    assert read_secret_file(tmp_path / "secret").reveal() == b"x" * 4096


class Reading:
    """Secret files, watched with a clock that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.warnings: list[str] = []
        self.files = SecretFiles(lambda: self.now, self.warnings.append)

    def later(self, path: Path, seconds: float = 0.25) -> bytes:
        self.now += seconds
        self.files.look()
        return self.files.read(path).reveal()


def test_a_secret_file_that_is_written_anew_is_read_within_a_quarter_of_a_second(tmp_path: Path) -> None:
    file, reading = tmp_path / "secret", Reading()
    file.write_text("first")
    assert reading.files.read(file).reveal() == b"first"
    before = reading.files.look()
    file.write_text("other")
    assert reading.later(file, 0.2) == b"first"
    assert reading.later(file, 0.05) == b"other"
    assert reading.files.look() != before


def test_while_a_secret_file_is_being_written_the_secret_of_before_is_used(tmp_path: Path) -> None:
    file, reading = tmp_path / "secret", Reading()
    file.write_text("first")
    reading.files.read(file)
    before = reading.files.look()
    for unfit in (b"", b"two\nlines\n", None, b"x" * 5000):
        file.unlink() if unfit is None else file.write_bytes(unfit)
        assert reading.later(file) == b"first"
    assert reading.files.look() == before
    (said,) = reading.warnings
    assert said.startswith(f"the secret file {file} is empty; write the signing secret into it. Until it can be read")
    file.write_text("second")
    assert reading.later(file) == b"second"


def test_a_secret_file_that_was_never_there_is_an_error_until_it_is(tmp_path: Path) -> None:
    file, reading = tmp_path / "secret", Reading()
    for _ in range(3):
        with pytest.raises(UsageError, match="cannot be read: No such file"):
            reading.later(file)
    before = reading.files.look()
    file.write_text("there")
    assert reading.later(file) == b"there"
    assert (reading.files.look() != before, reading.warnings) == (True, [])


def test_a_file_that_nobody_reads_any_more_is_not_looked_at(tmp_path: Path) -> None:
    kept, left, reading = tmp_path / "kept", tmp_path / "left", Reading()
    for file in (kept, left):
        file.write_text("secret")
        reading.files.read(file)
    reading.files.forget_others()
    reading.files.read(kept)
    reading.files.forget_others()
    for file in (kept, left):
        file.unlink()
    reading.later(kept)
    assert [str(kept) in said for said in reading.warnings] == [True]


def test_a_pipe_is_read_once_and_never_waited_for(tmp_path: Path) -> None:
    """As with `--secret-file <(command)`, and with a named pipe, which would wait for a writer."""
    ours, theirs = os.pipe()
    os.write(theirs, b"from a command\n")
    os.close(theirs)
    reading, path = Reading(), Path(f"/dev/fd/{ours}")
    try:
        assert reading.files.read(path).reveal() == b"from a command"
        for _ in range(4):
            assert reading.later(path) == b"from a command"
    finally:
        os.close(ours)
    assert reading.warnings == []

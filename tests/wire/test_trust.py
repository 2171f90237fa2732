"""Which certificates are trusted, and spellings of a CA file's path, so that libcurl reads it again after a change."""

import os
from pathlib import Path

import pytest

from arkcli.wire.trust import CaFiles, is_keychain_trusted


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    path.write_text("one")
    return path


def test_a_file_that_does_not_change_is_spelled_as_it_was_given(ca_file: Path) -> None:
    files = CaFiles()
    assert {files.spelling(str(ca_file)) for _ in range(3)} == {str(ca_file)}
    assert files.spelling("") == ""


def test_each_change_gives_a_spelling_that_there_was_not_before_of_the_same_file(ca_file: Path) -> None:
    files = CaFiles()
    spellings = [files.spelling(str(ca_file))]
    for number in range(300):
        ca_file.write_text("x" * number)
        spellings.append(files.spelling(str(ca_file)))
    assert len(set(spellings)) == 301
    assert all(ca_file.samefile(spelling) for spelling in spellings)
    assert max(map(len, spellings)) <= len(str(ca_file)) + 20


def test_a_relative_path_leads_to_the_same_file(ca_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ca_file.parent)
    files = CaFiles()
    assert files.spelling("ca.pem") == "ca.pem"
    ca_file.write_text("another")
    assert ca_file.samefile(files.spelling("ca.pem"))


def test_a_file_that_vanishes_and_one_that_comes_have_changed(ca_file: Path) -> None:
    files = CaFiles()
    first = files.spelling(str(ca_file))
    ca_file.unlink()
    second = files.spelling(str(ca_file))
    assert files.spelling(str(ca_file)) == second
    ca_file.write_text("one")
    assert len({first, second, files.spelling(str(ca_file))}) == 3


def test_what_is_written_at_the_same_time_with_the_same_length_has_changed(ca_file: Path) -> None:
    files = CaFiles()
    first, found = files.spelling(str(ca_file)), ca_file.stat()
    ca_file.with_suffix(".new").write_text("two")
    ca_file.with_suffix(".new").replace(ca_file)
    os.utime(ca_file, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert files.spelling(str(ca_file)) != first


@pytest.mark.parametrize(
    ("file", "is_trusted"),
    [
        ("/etc/ssl/cert.pem", True),
        ("/./etc/ssl/cert.pem", True),
        ("/.//./etc/ssl/cert.pem", True),
        ("/Users/ada/company.pem", False),
        ("", False),
    ],
)
def test_the_keychain_is_trusted_beside_the_file_of_the_system_and_no_other(
    tmp_path: Path, file: str, is_trusted: bool
) -> None:
    keychain = tmp_path / "SystemRootCertificates.keychain"
    assert not is_keychain_trusted(file, keychain)
    keychain.touch()
    assert is_keychain_trusted(file, keychain) is is_trusted

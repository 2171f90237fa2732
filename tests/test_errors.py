"""The error classes and exit statuses, which scripts rely on."""

import re

import pytest

from arkcli import errors
from arkcli.errors import ArkError, ExitCode

#: The class, its code in JSON, and the exit status.
ERRORS = [
    (errors.ArkError, "failed", 1),
    (errors.UsageError, "usage", 2),
    (errors.PayloadError, "payload", 2),
    (errors.AddressRefused, "address", 2),
    (errors.DeliveryFailed, "delivery_failed", 1),
    (errors.NotAccepted, "not_accepted", 1),
    (errors.Unfinished, "unfinished", 75),
    (errors.NotRecorded, "not_recorded", 1),
    (errors.NotAttempted, "not_attempted", 1),
    (errors.Broken, "broken", 1),
    (errors.Gone, "gone", 1),
    (errors.Unreachable, "unreachable", 1),
    (errors.InDoubt, "in_doubt", 1),
    (errors.Busy, "busy", 1),
    (errors.Held, "held", 1),
    (errors.Filling, "filling", 1),
    (errors.Unreadable, "unreadable", 78),
    (errors.Moved, "moved", 78),
    (errors.Replaced, "replaced", 78),
    (errors.Refused, "refused", 78),
    (errors.Interrupted, "interrupted", 130),
]


def tree(root: type[ArkError]) -> list[type[ArkError]]:
    return [root, *(below for child in root.__subclasses__() for below in tree(child))]


def test_the_exit_codes_are_those_of_the_command_surface() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "DONE": 0,
        "FAILED": 1,
        "USAGE": 2,
        "UNWRITTEN": 74,
        "RETRYING": 75,
        "UNREADABLE": 78,
        "INTERRUPTED": 130,
    }


@pytest.mark.parametrize(("kind", "code", "status"), ERRORS)
def test_each_error_has_a_word_and_an_exit_status(kind: type[ArkError], code: str, status: int) -> None:
    assert (kind.code, int(kind.exit_code)) == (code, status)


def test_no_error_is_without_a_row_in_this_table_and_no_two_share_a_word() -> None:
    assert tree(ArkError) == [kind for kind, _, _ in ERRORS]
    assert len({code for _, code, _ in ERRORS}) == len(ERRORS)


def test_the_tree_that_the_module_draws_is_the_tree_that_there_is() -> None:
    drawn = re.findall(r"^[│├└─ ]*([A-Z]\w+)(?: +(\d+))?", (errors.__doc__ or "").partition("\n\n")[2], re.MULTILINE)
    assert [name for name, _ in drawn] == [kind.__name__ for kind in tree(ArkError)]
    assert all(int(status) == getattr(errors, name).exit_code for name, status in drawn if status)


@pytest.mark.parametrize("kind", [errors.PayloadError, errors.AddressRefused])
def test_bad_input_is_a_usage_error(kind: type[ArkError]) -> None:
    assert issubclass(kind, errors.UsageError)

"""What the checks of `ark doctor` return."""

from enum import StrEnum
from typing import NamedTuple


class Status(StrEnum):
    """The outcome of a check."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


class Check(NamedTuple):
    """A check, its outcome, and what to do about it."""

    name: str
    status: Status
    message: str
    hint: str | None = None


def passed(name: str, message: str) -> Check:
    """A check that found nothing wrong."""
    return Check(name, Status.PASS, message)

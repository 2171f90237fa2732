"""Times and durations, formatted and parsed."""

import math
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from arkcli import times

#: 9999-12-31T23:59:59.999Z, the latest time that can be formatted.
LAST = 253_402_300_799_999
MOMENT = 1_795_433_328_123

TEXTS = [
    (0, "1970-01-01T00:00:00.000Z"),
    (1, "1970-01-01T00:00:00.001Z"),
    (MOMENT, "2026-11-23T11:28:48.123Z"),
    (951_782_400_000, "2000-02-29T00:00:00.000Z"),
    (LAST, "9999-12-31T23:59:59.999Z"),
]


@pytest.mark.parametrize(("milliseconds", "text"), TEXTS)
def test_a_time_is_written_as_iso_8601_in_utc_with_milliseconds(milliseconds: int, text: str) -> None:
    assert times.to_text(milliseconds) == text
    assert times.from_text(text) == milliseconds


@settings(deadline=None)
@given(st.integers(0, LAST))
def test_a_time_that_is_written_and_read_is_the_same_time(milliseconds: int) -> None:
    assert times.from_text(times.to_text(milliseconds)) == milliseconds


@settings(deadline=None)
@given(st.integers(0, LAST), st.integers(0, LAST))
def test_times_sort_as_their_texts_do(one: int, other: int) -> None:
    assert (one < other) is (times.to_text(one) < times.to_text(other))


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("2026-11-23T11:28:48.123Z", MOMENT),
        ("2026-11-23T11:28:48.123+00:00", MOMENT),
        ("2026-11-23T12:28:48.123+01:00", MOMENT),
        ("2026-11-23T06:28:48.123-05:00", MOMENT),
        ("2026-11-23T11:28:48.123", MOMENT),
        ("2026-11-23T11:28:48.123456Z", MOMENT),
        ("2026-11-23T11:28:48Z", MOMENT - 123),
        ("20261123T112848Z", MOMENT - 123),
        ("2026-11-23T11:28Z", MOMENT - 48_123),
        ("2026-11-23", MOMENT - 48_123 - (11 * 60 + 28) * 60_000),
        ("1969-12-31T23:59:59.999Z", -1),
    ],
)
def test_iso_8601_is_read_in_its_usual_forms_and_without_a_zone_means_utc(text: str, milliseconds: int) -> None:
    assert times.from_text(text) == milliseconds


def test_the_zone_of_the_machine_changes_nothing() -> None:
    code = "from arkcli import times; print(times.from_text('2026-11-23T11:28:48.123'), times.to_text(0))"
    variables = {**os.environ, "TZ": "XYZ-05:30"}
    said = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    assert said.stdout.split() == [str(MOMENT), "1970-01-01T00:00:00.000Z"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "1795433328",
        "2026-11",
        "2026-02-30",
        "2026-13-01T00:00:00Z",
        "2026-11-23T25:00:00Z",
        "2026-11-23T11:60:00Z",
        "23.11.2026",
        "2026-11-23T11:28:48ZZ",
        " 2026-11-23",
        "2026-11-23T",
    ],
)
def test_what_is_not_a_time_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        times.from_text(text)


offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@settings(deadline=None)
@given(st.text() | st.datetimes(timezones=offsets).map(datetime.isoformat))
@example("0001-01-01T00:00:00+23:59")
@example("9999-12-31T23:59:59-23:59")
def test_any_text_is_a_time_or_a_value_error(text: str) -> None:
    try:
        milliseconds = times.from_text(text)
    except ValueError:
        return
    assert isinstance(milliseconds, int)


@settings(deadline=None)
@given(st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)))
def test_a_time_with_microseconds_is_read_to_within_a_millisecond(moment: datetime) -> None:
    exact = moment - datetime(1970, 1, 1, tzinfo=UTC)
    microseconds = (exact.days * 86_400 + exact.seconds) * 1_000_000 + exact.microseconds
    assert abs(times.from_text(moment.isoformat()) * 1000 - microseconds) < 1000


DURATIONS = [
    ("30s", 30),
    ("5m", 300),
    ("2h", 7200),
    ("7d", 604_800),
    ("250ms", 0.25),
    ("1h30m", 5400),
    ("1d12h", 129_600),
    ("1m1ms", 60.001),
    ("1.5h", 5400),
    ("0s", 0),
    ("055s", 55),
]


@pytest.mark.parametrize(("text", "seconds"), DURATIONS)
def test_a_duration_is_a_number_with_a_unit(text: str, seconds: float) -> None:
    assert times.parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "s",
        "-5s",
        "+5s",
        "5 s",
        " 5s",
        "5s ",
        "5s\n",
        "5S",
        "5M",
        "1h 30m",
        "1h,30m",
        "1e3s",
        ".5s",
        "5.s",
        "5sec",
    ],
)
def test_what_is_not_a_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; write it as 30s, 5m, 2h or 7d"):
        times.parse_duration(text)


@settings(deadline=None)
@given(st.text(alphabet="0123456789.msdh ", max_size=12) | st.text())
@example("9" * 400 + "d")
def test_any_text_is_a_duration_that_will_end_or_a_value_error(text: str) -> None:
    try:
        seconds = times.parse_duration(text)
    except ValueError:
        return
    assert 0 <= seconds < math.inf


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.26, "0.3 s"),
        (9.9, "9.9 s"),
        (45, "45 s"),
        (119, "119 s"),
        (120, "2 min"),
        (300, "5 min"),
        (1800, "30 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (86_400, "24 h"),
        (172_800, "2 d"),
        (604_800, "7 d"),
    ],
)
def test_a_duration_is_told_in_the_unit_that_suits_it(seconds: float, text: str) -> None:
    assert times.describe_duration(seconds) == text

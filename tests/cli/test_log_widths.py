"""`ark log` fits the terminal: no row is wider, and no name is cut into one that another destination could have."""

import pytest

from arkcli.cli.log import columns
from tests.world import PAYLOAD, World


@pytest.mark.parametrize("longest", [1, 13, 40, 64])
@pytest.mark.parametrize("width", [80, 100, 120, 132, 200])
def test_the_columns_fit_any_usual_width(width: int, longest: int) -> None:
    found = columns(width, longest)
    widths = {column.heading: column.width for column in found}

    assert sum(widths.values()) + 2 * (len(found) - 1) <= width
    assert {"time (UTC)", "destination", "answer"} <= widths.keys()
    assert widths["destination"] >= min(longest, width // 2)


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (80, ["time (UTC)", "destination", "#", "answer", "event id"]),
        (100, ["time (UTC)", "destination", "event", "#", "answer", "event id"]),
        (120, ["time (UTC)", "destination", "event", "#", "outcome", "took", "answer", "event id"]),
    ],
)
def test_what_matters_least_is_left_out_first(width: int, shown: list[str]) -> None:
    assert [column.heading for column in columns(width, 13)] == shown


@pytest.mark.parametrize("width", [80, 120])
def test_no_row_is_wider_than_the_terminal_and_names_stay_whole(world: World, width: int) -> None:
    names = ["customer-0500", "customer-0501", "a-name-that-is-as-long-as-it-is-useful-01"]
    for number, name in enumerate(names):
        world.ark("dest", "add", f"http://127.0.0.1:9/{number}", "--allow-local", "--no-ping", "--name", name)
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    rows = world.on_a_terminal("log", columns=width, NO_COLOR="1").splitlines()

    assert len(rows) == 4
    assert max(map(len, rows)) <= width
    assert all(name in "\n".join(rows) for name in names[:2])
    beginning = rows[1].split()[-1]
    if width == 120:
        assert world.ark("queue", "show", beginning).status == 0

"""Metrics, read by an independent parser."""

from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from arkcli.actions.metrics import exposition
from arkcli.actions.reading import Overview, Place
from arkcli.model import Attempt, Destination, Outcome
from arkcli.queue.engine import Standing, Totals
from tests.world import START, TestReceiver, World

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: str) -> Samples:
    families = list(text_string_to_metric_families(text))
    assert all(family.type == "gauge" and family.documentation for family in families)
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def value(samples: Samples, metric: str, **labels: str) -> float | None:
    return samples.get((metric, frozenset(labels.items())))


def test_every_count_and_age_can_be_read_back() -> None:
    last = Attempt("evt_1", "ping", 1, START - 60_000, Outcome.FAILED, 503, None, 3, "")
    crm = Destination(id="dst_1", name="crm", url="https://crm.example/", added_at="", paused=True)
    odd = Destination(id="dst_2", name='odd\\"\n}', url="https://odd.example/", added_at="")
    standings = [
        (crm, Standing(3, (1, 0, 2, 0), 4, START - 30_000, START - 90_000, last)),
        (odd, Standing(0, (0, 0, 0, 0), 0, START + 30_000, None, None)),
    ]
    places = [Place(found, standing) for found, standing in standings]
    found = read(exposition(Overview(places, {"lost": "it is broken"}), Totals(12, 3_456), START).decode())
    assert value(found, "ark_deliveries", destination="crm", state="waiting") == 3
    assert value(found, "ark_deliveries", destination="crm", state="retrying") == 3
    assert value(found, "ark_deliveries", destination="crm", state="dead") == 4
    assert value(found, "ark_oldest_age_seconds", destination="crm") == 90
    assert value(found, "ark_overdue_seconds", destination="crm") == 30
    assert value(found, "ark_last_attempt_timestamp_seconds", destination="crm") == (START - 60_000) / 1000
    assert value(found, "ark_paused", destination="crm") == 1
    assert value(found, "ark_overdue_seconds", destination=odd.name) == 0
    assert value(found, "ark_last_attempt_timestamp_seconds", destination=odd.name) is None
    broken = {name: value(found, "ark_broken", destination=name) for name in ("crm", odd.name, "lost")}
    assert broken == {"crm": 0, odd.name: 0, "lost": 1}
    assert value(found, "ark_paused", destination="lost") is None
    assert (value(found, "ark_log_events"), value(found, "ark_log_bytes")) == (12, 3_456)


def test_the_command_replaces_the_file_in_one_step_and_lets_others_read_it(
    world: World, receive: Callable[..., TestReceiver], tmp_path: Path
) -> None:
    world.add(receive(503), "crm")
    world.ark("send", "signal.promoted", "--sample")
    file = tmp_path / "ark.prom"
    file.write_text("old")
    before = file.stat().st_ino
    assert world.ark("queue", "--prometheus", str(file), "--quiet") == (0, "", "")
    assert file.stat().st_ino != before
    assert file.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["ark.prom"]
    assert value(read(file.read_text()), "ark_deliveries", destination="crm", state="retrying") == 1


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_file_that_cannot_be_written_is_named(world: World, options: tuple[str, ...]) -> None:
    result = world.ark("queue", "--prometheus", "/no/such/directory/ark.prom", *options)
    assert result.status == 2
    assert "/no/such/directory/ark.prom cannot be written" in result.out + result.err


def test_a_dash_puts_the_metrics_and_nothing_else_on_standard_output(
    world: World, receive: Callable[..., TestReceiver], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    world.add(receive(503), "crm")
    world.ark("send", "signal.promoted", "--sample")
    before = set(tmp_path.iterdir())
    result = world.ark("queue", "--prometheus", "-", "--quiet")
    world.ark("queue", "--prometheus", str(tmp_path / "ark.prom"))
    assert result == (0, (tmp_path / "ark.prom").read_text(), "")
    assert set(tmp_path.iterdir()) - before == {tmp_path / "ark.prom"}


def test_metrics_and_json_are_not_mixed_on_one_standard_output(world: World) -> None:
    result = world.ark("queue", "--prometheus", "-", "--json")
    assert result.status == 2
    assert "both write to standard output" in result.json["error"]["message"]

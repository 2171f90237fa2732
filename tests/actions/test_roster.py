"""Settings during a long run: which changes it picks up, when, and which apply while the files cannot be read."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from arkcli import times
from arkcli.actions import drain, send
from arkcli.actions.roster import Roster
from arkcli.actions.send import Order
from arkcli.errors import Unreadable
from arkcli.model import Answer, Destination
from arkcli.queue.local.queue import LocalQueue
from arkcli.signing import Concealed, Secret
from arkcli.signing.scheme import BODY, Joined, Scheme
from arkcli.signing.standard import Former, StandardWebhooks
from tests.world import PAYLOAD, START, World

TOLD = "Until it can be read, ark uses what it read last"


class Run:
    """A run's roster and its warnings. The clock is moved by hand."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.home = world.session().home
        self.warnings: list[str] = []
        self.begin()

    def begin(self, names: tuple[str, ...] = ()) -> Roster:
        """Starts a new roster, of the destinations with these names, or of all."""
        chosen = [found for found in self.home.store.read().destinations if found.name in names]
        choose = drain.only(chosen) if names else drain.all_of
        self.roster = Roster(self.home, choose, self.warnings.append)
        return self.roster

    def later(self, seconds: float = 0.3) -> dict[str, str]:
        """The secrets by destination after this time, during which the roster was read ten times a second."""
        for _ in range(round(seconds * 10)):
            self.world.clock.advance(0.1)
            endpoints = self.roster.read()
        return {found.destination.name: found.secret.reveal().decode() for found in endpoints}

    def change(self, which: str, /, **settings: object) -> None:
        with self.home.store.change() as contents:
            found = contents.find(which)
            assert found is not None
            contents.replace(msgspec.structs.replace(found, **settings))


@pytest.fixture
def run(world: World) -> Iterator[Run]:
    """Two destinations: `a` with the shared secret, `b` with its own."""
    with world.session().home.store.change() as contents:
        contents.workspace.secret = Secret("shared")
        for name, secret in (("a", None), ("b", Secret("own"))):
            url = f"https://{name}.example/"
            contents.destinations.append(Destination(id=f"dst_{name}", name=name, url=url, added_at="", secret=secret))
    made = Run(world)
    yield made
    made.home.queue.close()


def test_while_nothing_changes_each_endpoint_is_the_same_object(run: Run) -> None:
    before = run.roster.read()
    run.later(2.0)
    assert all(one is other for one, other in zip(before, run.roster.read(), strict=True))


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "https://new.example/"},
        {"headers": {"X-New": Concealed("1")}},
        {"secret": Secret("new")},
        {"userinfo": Concealed("me:x")},
        {"ca_file": "/new.pem"},
        {"client_cert": "/new.pem", "client_key": "/new.key"},
        {"proxy": Secret("http://proxy.example:3128")},
        {"allow_local": True},
        {"name": "new"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_what_is_changed_of_a_destination_is_in_force_and_the_others_stay_as_they_are(
    run: Run, settings: dict[str, object]
) -> None:
    before = {found.destination.id: found for found in run.roster.read()}
    run.change("a", **settings)
    run.later()
    after = {found.destination.id: found for found in run.roster.read()}
    assert all(getattr(after["dst_a"].destination, key) == value for key, value in settings.items())
    assert (after["dst_a"] is before["dst_a"], after["dst_b"] is before["dst_b"]) == (False, True)


def test_a_secret_that_is_rotated_signs_for_those_who_have_none_of_their_own(run: Run) -> None:
    assert run.later() == {"a": "shared", "b": "own"}
    assert run.world.ark("secret", "set", stdin=b"rotated").status == 0
    assert run.later() == {"a": "rotated", "b": "own"}


def test_a_proxy_is_followed_wherever_it_is_set(run: Run, tmp_path: Path) -> None:
    def proxies() -> list[str | None]:
        run.later(1.0)
        found = [endpoint.destination.proxy for endpoint in run.roster.read()]
        return [None if proxy is None else proxy.reveal().decode() for proxy in found]

    one, two, three = (f"http://proxy{number}.example:3128" for number in (1, 2, 3))
    file = tmp_path / "proxy"
    file.write_text(one)
    run.change("a", proxy=Secret(f"file:{file}"))
    assert proxies() == [one, None]
    file.write_text(two)
    assert proxies() == [two, None]
    with run.home.store.change() as contents:
        contents.network.proxy = Secret(three)
    assert proxies() == [two, three]
    run.change("a", proxy=Secret("none"))
    assert proxies() == [None, three]
    run.change("a", proxy=Secret("http://nonsense"))
    assert run.later() == {"b": "own"}
    (warning,) = run.warnings
    assert warning.startswith("a is left out: the proxy of a: 'http://nonsense' is not a proxy")


def test_destinations_come_and_go_and_rest(run: Run) -> None:
    run.change("a", paused=True)
    assert run.later() == {"b": "own"}
    run.change("a", paused=False)
    with run.home.store.change() as contents:
        contents.destinations.append(Destination(id="dst_c", name="c", url="https://c.example/", added_at=""))
    assert run.later() == {"a": "shared", "b": "own", "c": "shared"}
    assert run.world.ark("dest", "remove", "b", "--yes").status == 0
    assert run.later() == {"a": "shared", "c": "shared"}
    assert run.warnings == []


def test_a_change_is_in_force_within_half_a_second_though_others_follow_all_the_time(run: Run) -> None:
    run.change("a", secret=Secret("new"))
    for number in range(5):
        run.world.clock.advance(0.1)
        run.change("b", description=str(number))
        run.roster.read()
    assert {found.secret.reveal() for found in run.roster.read()} == {b"new", b"own"}


def in_place(store: Path, text: str) -> None:
    """Writes a file as some editors do: empties it first."""
    with store.open("r+", encoding="utf-8") as file:
        file.truncate()
        file.write(text)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda store: in_place(store, ""), "Object missing required field `version`"),
        (lambda store: in_place(store, "version = 1\n[[destinations]\n"), "Expected ']]' at the end"),
        (lambda store: in_place(store, 'version = 1\n[workspace]\nsecret = "x'), "Unterminated string"),
        (lambda store: store.chmod(0o644), "other users can read it (mode 0644)"),
        (lambda store: store.unlink(), "is gone; put it back"),
        (lambda store: store.parent.rename(store.parent.with_name("away")), "is gone; put it back"),
    ],
    ids=["empty", "half", "torn", "open", "gone", "directory"],
)
def test_a_store_that_cannot_be_read_is_taken_for_what_it_was_and_told_of_once(
    run: Run, spoil: Callable[[Path], None], said: str
) -> None:
    store = run.world.store_file
    text = store.read_text()
    run.later()
    spoil(store)
    assert run.later(20.0) == {"a": "shared", "b": "own"}
    (told,) = run.warnings
    assert str(store) in told
    assert said in told
    assert told.endswith(TOLD)
    if store.parent.with_name("away").exists():
        store.parent.with_name("away").rename(store.parent)
    store.touch(0o600)
    store.chmod(0o600)
    in_place(store, text.replace("shared", "changed"))
    assert run.later() == {"a": "changed", "b": "own"}
    assert len(run.warnings) == 1


def test_a_store_is_not_read_while_it_is_being_written(run: Run) -> None:
    """A half-written file may be valid TOML with another meaning."""
    text = run.world.store_file.read_text()
    half = 'version = 1\n[[destinations]]\nid = "dst_a"\nname = "a"\nurl = "https://a.example/"\nadded_at = ""\n'
    run.later()
    in_place(run.world.store_file, half)
    run.world.clock.advance(0.1)
    assert len(run.roster.read()) == 2
    in_place(run.world.store_file, text)
    assert run.later() == {"a": "shared", "b": "own"}
    assert run.warnings == []


def test_a_store_that_is_broken_when_the_run_begins_ends_it(run: Run) -> None:
    in_place(run.world.store_file, "version = 1\ncolour = 1\n")
    with pytest.raises(Unreadable, match="unknown field `colour`"):
        run.begin()


def test_a_new_destination_that_can_have_no_place_in_the_queue_stops_none_of_the_others(run: Run) -> None:
    # Fails as on a disk without a free inode.
    (run.world.queue_directory / "destinations" / "dst_c").write_bytes(b"")
    with run.home.store.change() as contents:
        contents.destinations.append(Destination(id="dst_c", name="c", url="https://c.example/", added_at=""))
    assert {"a": "shared", "b": "own"}.items() <= run.later(1.0).items()
    (run.world.queue_directory / "destinations" / "dst_c").unlink()
    assert run.later(5.5) == {"a": "shared", "b": "own", "c": "shared"}


def test_those_that_were_named_are_followed_by_what_they_are_and_not_by_their_names(run: Run) -> None:
    run.begin(("a",))
    assert run.later() == {"a": "shared"}
    run.change("a", name="renamed")
    run.change("b", name="a")
    assert run.later() == {"renamed": "shared"}


@pytest.mark.parametrize("command", ["remove", "pause"])
def test_when_none_of_those_that_were_named_is_left_that_is_said_once(run: Run, command: str) -> None:
    run.begin(("a",))
    run.later()
    assert run.world.ark("dest", command, "a", *(["--yes"] if command == "remove" else [])).status == 0
    assert run.later(2.0) == {}
    assert run.warnings == ["all destinations have been removed or paused: there is none to deliver to"]


def test_a_secret_in_a_file_is_read_again_when_the_file_has_changed(run: Run) -> None:
    file = run.world.home / "secret"
    file.write_text("first")
    run.change("b", secret=Secret(f"file:{file}"))
    assert run.later() == {"a": "shared", "b": "first"}
    file.write_text("second")
    assert run.later(0.4) == {"a": "shared", "b": "second"}
    file.write_text("")
    assert run.later(2.0) == {"a": "shared", "b": "second"}
    file.unlink()
    assert run.later(2.0) == {"a": "shared", "b": "second"}
    assert [said.split(" is empty")[0] for said in run.warnings] == [f"the secret file {file}"]
    assert run.roster.left_out == []
    file.write_text("third")
    assert run.later(0.4) == {"a": "shared", "b": "third"}


def test_the_workspaces_secret_in_a_file_that_is_a_link_is_followed_for_all(run: Run) -> None:
    for version in ("1", "2"):
        (run.world.home / version).write_text(f"version {version}")
    link = run.world.home / "link"
    link.symlink_to("1")
    assert run.world.ark("secret", "set", stdin=f"file:{link}".encode()).status == 0
    assert run.later(0.4) == {"a": "version 1", "b": "own"}
    (run.world.home / "new").symlink_to("2")
    (run.world.home / "new").replace(link)
    assert run.later(0.4) == {"a": "version 2", "b": "own"}


def test_a_destination_whose_secret_cannot_be_had_is_left_out_until_it_can(run: Run) -> None:
    file = run.world.home / "secret"
    run.change("b", secret=Secret(f"file:{file}"))
    run.begin()
    assert run.later(2.0) == {"a": "shared"}
    assert run.roster.left_out == ["b"]
    assert run.warnings == [f"b is left out: the secret file {file} cannot be read: No such file or directory"]
    file.write_text("there now")
    assert run.later(0.4) == {"a": "shared", "b": "there now"}
    assert run.roster.left_out == []


def test_those_who_lack_the_shared_secret_are_left_out_with_one_warning(run: Run) -> None:
    with run.home.store.change() as contents:
        a = contents.destinations[0]
        for number in range(5):
            copy = msgspec.structs.replace(a, id=f"dst_{number}", name=f"n{number}", url=f"https://n{number}.example/")
            contents.destinations.append(copy)
        contents.workspace.secret = Secret("env:NOWHERE")
    run.begin()
    assert run.later() == {"b": "own"}
    (warning,) = run.warnings
    assert warning.startswith("a, n0, n1, n2, n3 and n4 are left out: ")


def test_one_that_is_left_out_and_then_removed_is_left_out_no_more(run: Run) -> None:
    run.change("b", secret=Secret("env:NOWHERE"))
    run.later()
    assert run.roster.left_out == ["b"]
    run.world.ark("dest", "remove", "b", "--yes")
    run.later()
    assert run.roster.left_out == []


def old_events(run: Run) -> Callable[[], int]:
    """Events that were delivered a day ago, some in their own segments; returns a function that counts those left."""
    queue = LocalQueue(run.world.queue_directory, run.world.retries, 1_000)
    run.home.queue.close()
    run.home.queue = queue
    for _ in range(10):
        queue.accept([send.draft(run.home, Order(event="signal.promoted", payload=PAYLOAD))])
    now = run.world.clock.now()
    for claim in queue.claim_due(["dst_a", "dst_b"], 2, "test", now):
        queue.record([(claim, [(found, Answer(200, None, 1)) for found in claim.take(now, 100)])], now)
        claim.release()
    run.world.clock.advance(86_400)
    return lambda: len(run.world.event_lines)


def test_what_is_to_be_kept_is_what_the_store_says_now(run: Run) -> None:
    left = old_events(run)
    run.roster.tidy()
    assert left() == 10
    with run.home.store.change() as contents:
        contents.queue.keep = "1h"
    run.roster.tidy()
    assert left() < 10


@pytest.mark.parametrize(
    "spoil",
    [
        os.unlink,
        lambda store: in_place(store, ""),
        lambda store: in_place(store, "version = 1\n[queue]\nkeep = '1h'\n"),
    ],
)
def test_nothing_is_removed_while_the_store_cannot_say_who_needs_it(run: Run, spoil: Callable[[Path], None]) -> None:
    with run.home.store.change() as contents:
        contents.queue.keep = "1h"
    run.later()
    left = old_events(run)
    spoil(run.world.store_file)
    run.roster.tidy()
    assert left() == 10


def test_one_destination_whose_url_was_edited_into_none_is_left_out_with_the_reason_and_stays_in_the_file(
    run: Run,
) -> None:
    run.change("a", url="https://a..example/")
    assert set(run.later()) == {"b"}
    assert run.roster.left_out == ["a"]
    assert [
        warning for warning in run.warnings if warning.startswith("a is left out: 'https://a..example/' is not a URL")
    ]
    assert run.world.ark("dest", "pause", "b").status == 0
    run.change("a", url="https://a.example/")
    assert set(run.later()) == {"a"}
    assert run.roster.left_out == []


def test_a_change_of_the_secret_is_in_force_with_its_overlap(run: Run) -> None:
    run.change("a", standard_webhooks=True)
    run.later()
    with run.home.store.change() as contents:
        workspace = contents.workspace
        workspace.previous, workspace.secret = workspace.secret, Secret("new")
        workspace.secret_changed_at = times.to_text(run.home.clock.now())
    assert run.later()["a"] == "new"
    assert scheme(run) == Joined((BODY, StandardWebhooks((Former(Secret("shared"), START // 1000 + 86_400),))))
    before = run.roster.read()
    with run.home.store.change() as contents:
        contents.workspace.overlap = "0s"
    run.later()
    assert scheme(run) == Joined((BODY, StandardWebhooks()))
    # The destination without these headers stays the same object.
    assert [one in before for one in run.roster.read()] == [False, True]


def scheme(run: Run) -> Scheme:
    return next(found.scheme for found in run.roster.read() if found.destination.name == "a")

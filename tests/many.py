"""A home with many destinations, three of them in trouble: what the lists are for."""

from arkcli import times
from arkcli.model import Answer, Draft
from tests.world import PAYLOAD, START, World

#: What those in trouble answer.
ANSWERS = (
    Answer(500, "answered 500, not a 2xx", 12),
    Answer(None, "no answer within 10 s", 10_000, timed_out=True),
    Answer(None, "no connection: connection refused", 1, unreached=True),
)
#: Dead letters for each of them.
LETTERS = 20


def name(number: int) -> str:
    """The name of a destination."""
    return f"customer-{number:04}"


def build(world: World, count: int, troubled: tuple[int, int, int]) -> None:
    """Writes the destinations, and has all deliveries to the three with these numbers die."""
    lines = ["version = 1", "[workspace]", 'secret = "s3cret"']
    for number in range(count):
        lines += [
            "[[destinations]]",
            f'id = "dst_{number:028x}"',
            f'name = "{name(number)}"',
            f'url = "https://hooks.{name(number)}.example/signalark"',
            f'added_at = "{times.to_text(START)}"',
        ]
    world.store_file.parent.mkdir(parents=True)
    world.store_file.write_text("\n".join(lines) + "\n")
    world.store_file.chmod(0o600)
    home = world.session().home
    destinations = home.joined(home.store.read().destinations)
    for number, answer in zip(troubled, ANSWERS, strict=True):
        ids = home.new_digits(LETTERS)
        to = (destinations[number].id,)
        home.queue.accept([Draft(f"evt_{one}", "signal.promoted", times.to_text(START), PAYLOAD, to) for one in ids])
        now = START
        for _ in range(home.schedule.attempts):
            (claim,) = home.queue.claim_due(to, 1, "drain", now)
            while taken := claim.take(now, LETTERS):
                home.queue.record([(claim, [(delivery, answer) for delivery in taken])], now)
            claim.release()
            now += max(home.schedule.delays)
    home.queue.close()

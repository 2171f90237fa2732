"""End to end: events are sent, failures are retried on the documented schedule, nothing is lost."""

from collections.abc import Callable

from tests.world import PAYLOAD, TestReceiver, World, in_turn

Receive = Callable[..., TestReceiver]


def secret_of(world: World) -> str:
    return str(world.ark("secret", "show", "--reveal", "--json").json["secret"])


def test_three_destinations_of_which_one_fails(world: World, receive: Receive) -> None:
    good, also_good, bad = receive(200), receive(204), receive(500)
    for name, found in (("a", good), ("b", also_good), ("c", bad)):
        world.add(found, name)

    sent = world.ark("send", "signal.promoted", "--json", stdin=PAYLOAD)

    assert sent.status == 75
    outcomes = {found["destination"]: found["outcome"] for found in sent.json["deliveries"]}
    assert outcomes == {"a": "delivered", "b": "delivered", "c": "retrying"}


def test_a_failed_delivery_is_attempted_five_times_on_schedule_with_the_same_bytes(
    world: World, receive: Receive
) -> None:
    bad = receive(500)
    world.add(bad, "bad")
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    assert len(bad.requests) == 1

    for attempt, delay in enumerate((30, 300, 1800, 7200), start=2):
        world.clock.advance(delay - 0.001)
        assert world.ark("drain", "--json").json["attempted"] == 0
        world.clock.advance(0.001)
        drained = world.ark("drain", "--json")
        assert drained.json["attempted"] == 1
        assert len(bad.requests) == attempt
        assert drained.status == (1 if attempt == 5 else 0)

    assert [request.attempt for request in bad.requests] == [1, 2, 3, 4, 5]
    assert len({(request.body, request.signature, request.delivery) for request in bad.requests}) == 1
    world.clock.advance(30 * 86400)
    assert world.ark("drain", "--json").json["attempted"] == 0
    assert world.ark("queue", "--json").json["destinations"][0]["dead"] == 1
    (dead,) = world.queue_directory.glob("destinations/*/dead.jsonl")
    assert bad.requests[0].body in dead.read_bytes()


def test_a_retry_that_succeeds_is_done(world: World, receive: Receive) -> None:
    flaky = receive(in_turn(503, 200))
    world.add(flaky, "flaky")
    assert world.ark("send", "signal.promoted", stdin=PAYLOAD).status == 75
    world.clock.advance(30)
    assert world.ark("drain", "--json").json["delivered"] == 1
    world.clock.advance(86400)
    assert world.ark("drain", "--json").json["attempted"] == 0
    assert len(flaky.requests) == 2

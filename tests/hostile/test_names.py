"""Names that resolve to forbidden addresses, in a separate network with a name server and an unchanged `ark`."""

import json
import subprocess
from typing import Any

import pytest

from tests.hostile.network import ELSEWHERE, MANY, METADATA, PRIVATE, PUBLIC, PUBLIC_6, SILENT

LOOPBACK = "127.0.0.1 is a loopback address; --allow-local permits it for this destination"


@pytest.fixture(scope="module")
def said(apart: "subprocess.Popen[str] | None") -> Any:
    if apart is None:
        pytest.skip("a network of its own needs `unshare` and `ip`, and the right to use them")
    assert apart.stdout is not None
    out = apart.stdout.read()
    assert apart.wait(60) == 0
    return json.loads(out)


@pytest.mark.parametrize(
    "name",
    ["public.example", "public6.example", "rebinding.example", "local.private.example", "local.loopback.example"],
)
def test_a_name_of_what_may_be_dialled_is_delivered(said: Any, name: str) -> None:
    assert said["first"][name]["outcome"] == "delivered", said["first"][name]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("loopback.example", LOOPBACK),
        ("loopback6.example", "::1 is a loopback address"),
        ("mapped.example", "::ffff:127.0.0.1 (127.0.0.1) is a loopback address"),
        ("nat64.example", "64:ff9b::7f00:1 (127.0.0.1) is a loopback address"),
        ("private.example", f"{PRIVATE} is a private address"),
        (
            "metadata.google.internal",
            f"{METADATA} is link-local, where clouds serve their metadata; ark never connects to it",
        ),
        ("local.metadata.google.internal", f"{METADATA} is link-local"),
        ("all-local.example", ""),
        ("loopback-last.example", ""),
        ("no-such-name.example", "the name cannot be resolved"),
    ],
)
def test_a_name_of_what_may_not_be_dialled_is_refused_in_words(said: Any, name: str, error: str) -> None:
    assert said["first"][name]["outcome"] == "failed"
    assert said["first"][name]["error"].startswith(error)


def test_of_mixed_addresses_the_public_one_is_dialled_and_no_other(said: Any) -> None:
    assert said["first"]["loopback-first.example"]["outcome"] == "delivered"


def test_a_name_that_turns_into_loopback_is_refused(said: Any) -> None:
    assert said["second"]["rebinding.example"]["error"] == LOOPBACK


def test_the_address_that_is_judged_is_the_one_that_is_dialled_for_a_name_is_looked_up_once(said: Any) -> None:
    assert set(said["asked"].values()) == {1}


def test_nobody_reaches_loopback_or_a_private_address_but_who_is_allowed_to(said: Any) -> None:
    assert sorted((address, host) for address, host, _ in said["reached"]) == [
        (PRIVATE, "private.example"),
        ("127.0.0.1", "loopback.example"),
        (PUBLIC_6, "public6.example"),
        (PUBLIC, "loopback-first.example"),
        (PUBLIC, "public.example"),
        (PUBLIC, "rebinding.example"),
        (PUBLIC, "xn--bcher-kva.example"),
    ]


def test_a_name_that_leads_elsewhere_is_followed_when_its_minute_is_over(said: Any) -> None:
    assert said["moving"]["moved"] == [[PUBLIC], [PUBLIC], [ELSEWHERE]]


def test_a_name_at_which_nothing_answers_is_looked_up_again_for_the_next_attempt(said: Any) -> None:
    assert said["moving"]["down"] == [[None], [PUBLIC]]


def test_what_is_dialled_is_what_was_found_last_whoever_dialled_before(said: Any) -> None:
    """libcurl uses the addresses set on one handle for all handles of a destination."""
    assert sorted(said["moving"]["back"]) == [PUBLIC, ELSEWHERE]


def test_a_host_name_in_another_script_is_looked_up_greeted_and_verified_by_its_a_label(said: Any) -> None:
    assert said["first"]["xn--bcher-kva.example"]["outcome"] == "delivered"
    assert said["shown"] == "https://Bücher.example/xn--bcher-kva.example"


def test_names_that_nobody_answers_for_fail_in_time(said: Any) -> None:
    assert len(said["silent"]) == len(SILENT)
    for attempt in said["silent"]:
        assert attempt["error"] == "the name was not resolved within 10 s"
        assert attempt["duration_ms"] <= 12_000


def test_names_that_nobody_answers_for_delay_no_other(said: Any) -> None:
    assert said["drain"]["public.example"]["delivered"] == MANY + 1
    assert said["well_after"] < said["took"] - 5

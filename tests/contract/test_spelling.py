"""Paths of `--set` that are probably misspelled."""

import pytest

from arkcli.contract.assignments import parse
from arkcli.contract.spelling import doubt

PAYLOAD = (
    b'{"signal":{"id":"s","signal_name":"n","source":"news","line_1":1},"account":{"id":"a","employees":340},'
    b'"plays":[{"name":"p","window":7}]}'
)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("signal.icp_scor", "signal.icp_score"),
        ("signal.icp_sc0re", "signal.icp_score"),
        ("signal.icpscore", "signal.icp_score"),
        ("signal.ipc_score", "signal.icp_score"),
        ("signal.icp_scoree", "signal.icp_score"),
        ("signal.ICP_score", None),
        ("signal.soruce", "signal.source"),
        ("signal.di", "signal.id"),
        ("account.nmae", "account.name"),
        ("account.employes", "account.employees"),
        ("plays[0].nam", "plays[0].name"),
        ("plays.0.windwo", "plays.0.window"),
        ("acount.domain", "account.domain"),
        ("sginal.icp_scor", "signal.icp_score"),
        ("batchid", "batchId"),
        ("timestmp", "timestamp"),
        ("evnt", "event"),
        # Known, in the payload or in the type.
        ("signal.icp_score", None),
        ("signal.line_1", None),
        ("account.domain", None),
        ("plays[0].name", None),
        ("plays[1].name", None),
        # Far from all that is known, or new as a whole.
        ("signal.priority", None),
        ("signal.iq", "signal.id"),
        ("account.hq", None),
        ("owner.nmae", None),
        ("plays[0].kind", None),
        # Another of a numbered kind.
        ("signal.line_2", None),
        ("signal.line_10", None),
    ],
)
def test_a_key_one_or_two_letters_from_a_known_one_is_doubted(path: str, meant: str | None) -> None:
    said = doubt("signal.promoted", PAYLOAD, parse(f"{path}=1"))
    assert said == (meant and f"`{path}` is not in the payload; did you mean `{meant}`?")


@pytest.mark.parametrize("payload", [b"", b"[1]", b"{", b"[" * 100_000, b'{"signal":5}', b'{"signal":null}'])
def test_what_is_wrong_with_the_payload_is_told_elsewhere(payload: bytes) -> None:
    assert doubt("signal.promoted", payload, parse("signal.priority=1")) is None

"""Idempotency keys in payloads: `--id-from`."""

import pytest

from arkcli.contract.assignments import parse_path
from arkcli.contract.keys import key_at
from arkcli.errors import PayloadError, UsageError

PAYLOAD = (
    b'{"signal":{"id":"sig_1","n":7,"big":123456789012345678901234567890,"a.b":"dotted","no":null,"yes":true,'
    b'"spaced":"a b","long":"' + b"x" * 129 + b'","empty":""},"plays":[{"id":"first"},{"id":"second"}],"id":1,"id":2}'
)


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("signal.id", "sig_1"),
        ("$.signal.id", "sig_1"),
        ("signal.n", "7"),
        ("signal.big", "123456789012345678901234567890"),
        ('signal["a.b"]', "dotted"),
        ("plays[1].id", "second"),
        ("plays.0.id", "first"),
        # As receivers do, the last of two equal keys is taken.
        ("id", "2"),
    ],
)
def test_a_string_or_an_integer_at_the_path_is_the_key(path: str, key: str) -> None:
    assert key_at(PAYLOAD, parse_path(path)) == key


@pytest.mark.parametrize("path", ["signal.nothing", "nothing.id", "signal.id.deeper", "plays[2].id", "plays.id"])
def test_a_path_that_leads_nowhere_is_named(path: str) -> None:
    with pytest.raises(PayloadError, match="required but missing: --id-from takes the idempotency key there") as error:
        key_at(PAYLOAD, parse_path(path))
    assert str(error.value).startswith(f"$.{path}: ")


@pytest.mark.parametrize("name", ["no", "yes", "spaced", "long", "empty"])
def test_a_value_that_cannot_be_an_id_is_refused(name: str) -> None:
    with pytest.raises(PayloadError, match=rf"\$\.signal\.{name}: expected an idempotency key .*, got ."):
        key_at(PAYLOAD, parse_path(f"signal.{name}"))


@pytest.mark.parametrize("text", ["", "a..b", "a=b", "[", '["\\ud800"]', "a[x]"])
def test_what_is_not_a_path_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="expected a path, as in "):
        parse_path(text)

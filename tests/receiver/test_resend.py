"""What is sent to the application again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arkcli.httpd.messages import Request
from arkcli.receiver.resend import body_of, signed_again, text_of
from arkcli.signing import Secret, sign
from arkcli.signing.standard import Webhook
from arkcli.signing.verdict import judge


def test_a_request_is_signed_again_with_all_its_other_headers() -> None:
    headers = ((b"Host", b"x"), (b"x-signalark-SIGNATURE", b"old"), (b"X-Twice", b"1"), (b"X-Twice", b"\xe9"))
    made = signed_again(Request("POST", "/a?b", headers, b"before", "1.0"), b"after", Secret("k"), 1_795_000_000)
    assert (made.method, made.target, made.body, made.version) == ("POST", "/a?b", b"after", "1.0")
    assert made.headers == (headers[0], (b"X-SignalArk-Signature", sign("k", b"after").encode()), *headers[2:])


def test_it_names_the_length_of_its_new_body_and_has_each_signature_once() -> None:
    headers = ((b"content-length", b"6"), *((b"X-SignalArk-Signature", b"old"),) * 2, (b"X-Last", b"1"))
    made = signed_again(Request("POST", "/", headers, b"before"), b"after", Secret("k"), 1_795_000_000)
    signature = (b"X-SignalArk-Signature", sign("k", b"after").encode())
    assert made.headers == ((b"Content-Length", b"5"), signature, headers[3])
    alone = signed_again(Request("POST", "/", headers[3:], b""), b"after", Secret("k"), 1_795_000_000)
    assert alone.headers == (headers[3], signature)


def test_standard_webhooks_are_signed_again_with_their_id_and_a_new_time() -> None:
    headers = ((b"Webhook-Id", b"evt_1"), (b"webhook-timestamp", b"1"), (b"webhook-signature", b"v1,old"))
    made = signed_again(Request("POST", "/", headers, b"before"), b"after", Secret("k"), 1_795_000_000)
    found = Webhook.of(made.header)
    assert found is not None
    assert (found.id, found.sent_at) == ("evt_1", 1_795_000_000)
    assert judge([Secret("k")], b"after", made.header("X-SignalArk-Signature"), found, 1_795_000_000_000).valid
    assert len(made.headers) == 4


@pytest.mark.parametrize(
    ("body", "text", "edited", "sent"),
    [
        (b'{"a":1.50,"a":"\\u00e9"}', b'{\n  "a": 1.50,\n  "a": "\\u00e9"\n}\n', None, b'{"a":1.50,"a":"\\u00e9"}'),
        (b'{"a": 1}', b'{\n  "a": 1\n}\n', None, b'{"a": 1}'),
        (b'{"a": 1}', b'{\n  "a": 1\n}\n', b'{\n  "a": 2\n}', b'{"a":2}'),
        (b"not json", b"not json", b"nor is this\n", b"nor is this"),
        (b"a line\n", b"a line\n", b"another\n", b"another\n"),
        (b'{"a":1}', b'{\n  "a": 1\n}\n', b'{"a":\n', b'{"a":'),
        (b"[" * 100_000, b"[" * 100_000, b"", b""),
    ],
    ids=["unchanged", "unchanged, spaced", "changed", "text", "a line", "broken", "deep"],
)
def test_json_is_edited_over_several_lines_and_sent_as_one(
    body: bytes, text: bytes, edited: bytes | None, sent: bytes
) -> None:
    assert text_of(body) == text
    assert body_of(text if edited is None else edited, body) == sent


@given(st.binary())
def test_an_unchanged_text_is_the_very_body(body: bytes) -> None:
    assert body_of(text_of(body), body) == body

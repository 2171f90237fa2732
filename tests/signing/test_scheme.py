"""What a scheme signs: several bodies with one secret; and its headers, which are reserved."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from arkcli.contract.headers import check_header
from arkcli.errors import UsageError
from arkcli.signing import SIGNATURE_HEADER, Secret, sign
from arkcli.signing.scheme import BODY, SCHEMES, Scheme


@settings(deadline=None)
@example(key=b"k" * 64, bodies=[b"", b""])
@example(key=b"k" * 65, bodies=[b"x" * 64])
@given(key=st.binary(min_size=1, max_size=200), bodies=st.lists(st.binary(max_size=300)))
def test_the_documented_scheme_signs_each_body_alone_as_sign_does(key: bytes, bodies: list[bytes]) -> None:
    signer = BODY.signer(Secret(key))
    assert BODY.headers == (SIGNATURE_HEADER,)
    assert [signer("evt_1.dst_1", 1_700_000_000, body) for body in bodies] == [(sign(key, body),) for body in bodies]


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_nobody_else_may_set_the_headers_of_a_scheme(scheme: Scheme) -> None:
    for name in scheme.headers:
        with pytest.raises(UsageError, match="is set by ark"):
            check_header(name.upper(), "x")

"""Setting values in a payload: where a path leads, what VALUE becomes, and that nothing else changes."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arkcli.contract.assignments import parse, put, without
from arkcli.errors import PayloadError, UsageError

PAYLOAD = '{ "a" : 1.10, "signal":{"score":5, "x":1e400},"plays":[{"name":"q"}] }'


def shaped(payload: str, *settings: str) -> str:
    return put(payload.encode(), [parse(text) for text in settings]).decode()


@pytest.mark.parametrize(
    ("setting", "old", "new"),
    [
        ("a=2", "1.10", "2"),
        ("$.a=2", "1.10", "2"),
        ('["a"]=2', "1.10", "2"),
        ("signal.score=87", "5", "87"),
        ("$.signal.score=87", "5", "87"),
        ("plays[0].name=Hiring", '"q"', '"Hiring"'),
        ("plays.0.name=Hiring", '"q"', '"Hiring"'),
        ('plays[0]["name"]=Hiring', '"q"', '"Hiring"'),
        ("plays=[]", '[{"name":"q"}]', "[]"),
        ("signal=null", '{"score":5, "x":1e400}', "null"),
        ("signal.name=Series B", "1e400", '1e400,"name":"Series B"'),
        ("account.name=A", "]", '],"account":{"name":"A"}'),
        ("a.b.c=1", "1.10", None),
        ("plays[1].name=Next", '{"name":"q"}', '{"name":"q"},{"name":"Next"}'),
        ("plays.1=5", '{"name":"q"}', '{"name":"q"},5'),
        ("new[0][0].x=1", "]", '],"new":[[{"x":1}]]'),
        ("new.0.x=1", "]", '],"new":[{"x":1}]'),
        ('["a.b=c]"].d=1', "]", '],"a.b=c]":{"d":1}'),
        ("signal.7=1", "1e400", '1e400,"7":1'),
    ],
)
def test_a_path_leads_to_one_place_and_every_other_byte_stays(setting: str, old: str, new: str | None) -> None:
    if new is None:
        with pytest.raises(PayloadError):
            shaped(PAYLOAD, setting)
    else:
        assert shaped(PAYLOAD, setting) == PAYLOAD.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((spelling, spelling) for spelling in ("1.10", "1e400", "-0", "9" * 5000, "true", "null", '"x"', "[1, 2]")),
        *(
            (text, json.dumps(text))
            for text in ("", "Acme", "NaN", "01", "1,2", "a=b", '"half', "{", "\t", "C:\\\\ud800")
        ),
        ("é", '"é"'),
    ],
)
def test_a_value_is_json_where_it_parses_and_else_a_string(text: str, value: str) -> None:
    assert shaped("{}", f"a={text}") == f'{{"a":{value}}}'


def test_settings_are_made_one_after_the_other() -> None:
    assert shaped("{ }", "a.b=1", "a.b=2", "a.c=3", "d=4") == '{"a":{"b":2,"c":3},"d":4 }'


def test_of_a_key_that_stands_there_twice_the_last_is_set_as_readers_take_that() -> None:
    assert shaped('{"a":1,"a":2}', "a=3") == '{"a":1,"a":3}'


def test_a_key_is_found_however_it_is_spelled() -> None:
    assert shaped(r'{"\u0061\/":1}', '["a/"]=2') == r'{"\u0061\/":2}'


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("a.b=1", "$.a: expected an object to put 'b' into, got 1.10"),
        ("a[0]=1", "$.a: expected a list to put 0 into, got 1.10"),
        ("signal.score.x=1", "$.signal.score: expected an object to put 'x' into, got 5"),
        ("signal[0]=1", "$.signal: expected a list to put 0 into, got {"),
        ("[0]=1", "$: expected a list to put 0 into, got {"),
        ("plays.name=1", "$.plays: expected an object to put 'name' into, got [{"),
        ("plays[2]=1", "$.plays: expected a list of at least 2 to put 2 into, got [{"),
        ("plays[0].name.x=1", "$.plays[0].name: expected an object to put 'x' into"),
        ("new[1]=1", "$.new: there is no list yet; a new list begins at [0]"),
        ("new.deep.3.x=1", "$.new.deep: there is no list yet"),
    ],
)
def test_a_path_that_cannot_be_set_is_an_error_that_names_the_place(setting: str, why: str) -> None:
    with pytest.raises(PayloadError) as raised:
        shaped(PAYLOAD, setting)
    assert str(raised.value).startswith(why)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "=1",
        ".=1",
        "a..b=1",
        "a.=1",
        "a[=1",
        "a[x]=1",
        "a[-1]=1",
        'a["]=1',
        '["\\x"]=1',
        "a]=1",
        '["\\ud800"]=1',
    ],
)
def test_what_is_no_setting_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"--set takes PATH=VALUE, as in signal.icp_score=87"):
        parse(text)


def test_a_value_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--set signal\.name: the value is not UTF-8"):
        parse("signal.name=\udcff")


@pytest.mark.parametrize("payload", [b"", b"[]", b"{", b'{"a":}', b"\xef\xbb\xbf{}", b'{"a":"\\ud800"}', b"\xff"])
def test_a_payload_that_is_no_object_is_refused(payload: bytes) -> None:
    with pytest.raises(PayloadError, match=r"^\$: "):
        put(payload, [parse("a=1")])


def test_a_payload_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(PayloadError, match="nested more than 500 levels deep"):
        put(b'{"a":' + b"[" * 90_000 + b"]" * 90_000 + b"}", [parse("b=1")])


keys = st.text(max_size=3) | st.sampled_from(["a", "b", "0", "1"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


def setting_of(path: list[str | int], value: Any) -> str:
    steps = "".join(f"[{step}]" if isinstance(step, int) else f"[{json.dumps(step)}]" for step in path)
    return f"{steps}={json.dumps(value)}"


def paths_in(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in inner for found in paths_in(item, (*path, key)))]


@given(st.dictionaries(keys, values, min_size=1, max_size=4), st.data(), st.sampled_from([None, 1, 4]), values)
def test_setting_is_what_assignment_is_in_python(
    document: dict[str, Any], data: st.DataObject, indent: int | None, value: Any
) -> None:
    path = data.draw(st.sampled_from([found for found in paths_in(document) if found]))
    text = json.dumps(document, indent=indent)
    expected = json.loads(text)
    place = expected
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert json.loads(shaped(text, setting_of(list(path), value))) == expected


@given(st.dictionaries(keys, values, max_size=4), st.text(max_size=4), values)
def test_a_new_key_comes_last_and_setting_it_again_changes_nothing(
    document: dict[str, Any], key: str, value: Any
) -> None:
    document.pop(key, None)
    text = json.dumps(document, ensure_ascii=False)
    once = shaped(text, setting_of([key], value))
    assert json.loads(once) == {**document, key: value}
    assert list(json.loads(once))[-1] == key
    assert shaped(once, setting_of([key], value)) == once
    assert once.startswith(text[:-1])
    assert msgspec.json.format(once.encode())


@pytest.mark.parametrize("value", ['["\\ud800"]', '"\\udc00"', '{"\\ud83d":1}'])
def test_a_value_that_is_json_but_for_half_a_surrogate_pair_is_refused_and_no_string(value: str) -> None:
    with pytest.raises(UsageError, match=r"--set.*half of a surrogate pair"):
        parse(f"x={value}")


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("levels", [501, 600, 90_000])
def test_a_value_that_is_nested_too_deeply_is_refused(opening: str, closing: str, levels: int) -> None:
    with pytest.raises(PayloadError, match="nested more than 500 levels deep"):
        parse(f"x={opening * levels}1{closing * levels}")


@pytest.mark.parametrize("levels", [1, 501, 1000, 90_000])
def test_brackets_that_are_never_closed_are_a_string_or_nested_too_deeply(levels: int) -> None:
    try:
        assert parse(f"x={'[' * levels}").value == json.dumps("[" * levels)
    except PayloadError as error:
        assert levels > 500, error


@pytest.mark.parametrize(
    ("payload", "rest"),
    [
        (b'{"timestamp":"t","batchId":"b","x":1}', b'{"x":1}'),
        (b'{ "a" : 1.10 , "timestamp":"t" ,"b": [ 2 ] , "batchId":"b"}', b'{"a" : 1.10,"b": [ 2 ]}'),
        (b'{"timestamp":"t"}', b"{}"),
        (b'{"timestamp":1,"x":{"timestamp":2},"timestamp":3}', b'{"x":{"timestamp":2}}'),
        (b'{"x":"\\u00e9, {"}', b'{"x":"\\u00e9, {"}'),
        (b" {} ", b" {} "),
    ],
)
def test_keys_are_taken_out_of_an_object_and_the_rest_keeps_its_spelling(payload: bytes, rest: bytes) -> None:
    assert without(payload, ("timestamp", "batchId")) == rest

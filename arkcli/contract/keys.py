"""Idempotency keys: what `--id` takes, and where `--id-from` finds one in a payload."""

from typing import Any, Final

import msgspec
from msgspec import Raw

from arkcli.contract import complaints
from arkcli.contract.assignments import Path, index_of, shown
from arkcli.errors import PayloadError
from arkcli.text import pattern

#: A key becomes the id of an event.
KEY: Final = pattern(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
KEY_RULE: Final = "up to 128 letters, digits, '.', '_', ':' or '-', beginning with a letter or digit"

_objects: Final = msgspec.json.Decoder(dict[str, Raw])
_lists: Final = msgspec.json.Decoder(list[Raw])
_scalars: Final = msgspec.json.Decoder(str | int)


def key_at(payload: bytes, path: Path) -> str:
    """The idempotency key at a path in a JSON object: a string, or an integer as its digits.

    Raises PayloadError, which names the place.
    """
    found: Any = payload
    try:
        for step in path:
            if found[:1] == b"[":
                found = bytes(_lists.decode(found)[_position(step)])
            else:
                found = bytes(_objects.decode(found)[str(step)])
    except (msgspec.MsgspecError, LookupError):
        raise PayloadError(f"{shown(path)}: required but missing: --id-from takes the idempotency key there") from None
    try:
        key = str(_scalars.decode(found))
    except msgspec.MsgspecError:
        key = ""
    if not KEY.fullmatch(key):
        raise PayloadError(f"{shown(path)}: expected an idempotency key ({KEY_RULE}), got {complaints.excerpt(found)}")
    return key


def _position(step: str | int) -> int:
    index = index_of(step)
    if index is None:
        raise LookupError(step)
    return index

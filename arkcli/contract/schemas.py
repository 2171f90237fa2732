"""The events as JSON Schema 2020-12, made from the types that also validate."""

from typing import Any

import msgspec

from arkcli.contract.events import EVENTS, PURPOSES


def schema(event: str) -> dict[str, Any]:
    """The JSON Schema of an event's complete body, as a receiver gets it.

    Unlike `ark send`, it does not check that a date exists in the calendar.
    """
    kind = EVENTS[event]
    _, parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    for part in parts.values():
        part["additionalProperties"] = True
        for option in (option for field in part["properties"].values() for option in field.get("anyOf", ())):
            if option.pop("multipleOf", None):
                option["type"] = "integer"
    body = parts.pop(kind.__name__)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": event,
        "description": f"The body of {event}, sent when {PURPOSES[event]}. It may have more fields. `ark send` fills "
        "in event, timestamp and batchId if the payload has none.",
        "type": "object",
        "properties": {"event": {"const": event, "description": "the event's type"}, **body["properties"]},
        "required": ["event", *body["required"]],
        "additionalProperties": True,
        "$defs": dict(sorted(parts.items())),
    }

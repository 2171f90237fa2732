"""Renders values of actions as HTML: one environment for each run. The only module that imports Jinja2."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup, escape

from arkcli import times
from arkcli.actions import wording
from arkcli.text import clean_lines, counted

_PLACE: Final = Path(__file__).parent
#: The files that a page loads, and their types.
STATIC: Final = {"ark.css": b"text/css", "ark.js": b"text/javascript", "icon.svg": b"image/svg+xml"}
#: How much of a body is shown, in characters.
_SHOWN: Final = 64 * 1024


class Renderer:
    """Renders the templates."""

    def __init__(self, **common: object) -> None:
        """`common` are values that every template knows."""
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_PLACE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            finalize=_harmless,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(common, counted=counted)
        self._environment.filters.update(
            ago=wording.from_now,
            due=wording.due,
            answer=wording.short_answer,
            duration=lambda milliseconds: times.describe_duration(milliseconds / 1000),
            exact=lambda text: Markup(escape(text)),
            iso=times.to_text,
            parsed=times.from_text,
            bounded=_bounded,
        )

    def page(self, template: str, values: Mapping[str, Any]) -> bytes:
        """A page as UTF-8."""
        return self._environment.get_template(template).render(values).encode()


def static(name: str) -> bytes:
    """The content of a file that a page loads."""
    return (_PLACE / "static" / name).read_bytes()


def _harmless(value: object) -> object:
    """What is shown of a value: nothing that misleads a reader, and a dash for what is unknown."""
    if value is None:
        return "-"
    if isinstance(value, str) and not isinstance(value, Markup):
        return clean_lines(value)
    return value


def _bounded(text: str) -> str:
    more = len(text) - _SHOWN
    return text if more <= 0 else f"{text[:_SHOWN]}\n… {counted(more, 'more character')}"

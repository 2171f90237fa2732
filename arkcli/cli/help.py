"""A command's help as data, and as plain text of any width. Does not use Rich, which is slow to import."""

import inspect
import textwrap
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple

_EXAMPLE: Final = "Example: "
#: Options with a section of their own; all others are listed under Options.
_TOGETHER: Final = {
    "Filters": (
        *("--to", "--event", "--outcome", "--status", "--state", "--since", "--until", "--failed"),
        *("--dead", "--all-dead", "-n"),
    ),
    "Signing secret": ("--secret", "--secret-file", "--own-secret", "--workspace-secret"),
    "Limits": ("--concurrency", "--per-destination"),
    "Output": ("--json", "--quiet", "--color", "--version", "--help"),
}
#: The placeholder for an option's value, if its type does not suggest one.
_TAKES: Final = {
    **dict.fromkeys(("--to", "--name"), "NAME"),
    **dict.fromkeys(("--since", "--until", "--at"), "TIME"),
    "--event": "EVENT",
    "--status": "STATUS",
    "--url": "URL",
    "--forward-to": "URL",
    "--host": "ADDRESS",
    "--id": "KEY",
    "--header": "HEADER",
    "--plan": "ANSWERS",
}
_SECTION_OF: Final = {name: section for section, names in _TOGETHER.items() for name in names}
#: Below this width, in columns, an option's text is printed under its name, not beside it.
_NARROW: Final = 60
_WIDEST: Final = 100
_ORDER: Final = ("Commands", "Arguments", "Options", *_TOGETHER)


class Row(NamedTuple):
    """An argument, an option or a command, and its purpose."""

    names: str
    purpose: str


class Page(NamedTuple):
    """The help of one command."""

    path: str
    usage: str
    paragraphs: list[str]
    sections: list[tuple[str, list[Row]]]
    examples: list[str]


def words_of(command: Any) -> str:
    """A command's help. If Python strips docstrings (`-OO`), it is read from the source."""
    if not command.help:
        import ast

        with suppress(OSError):
            # Not ast.parse: since Python 3.14 it leaves them out, too.
            tree: Any = compile(inspect.getsource(command.callback), "", "exec", ast.PyCF_ONLY_AST, optimize=0)
            command.help = ast.get_docstring(tree.body[0])
    return inspect.cleandoc(command.help or "")


def page_of(context: Any) -> Page:
    """The help of a command, for `--help` and the manual page. `context` is Click's."""
    command = context.command
    usage = " ".join((context.command_path, *command.collect_usage_pieces(context))).replace("{", "").replace("}", "")
    paragraphs = [part.replace("\n", " ") for part in words_of(command).split("\n\n")]
    examples = [part.removeprefix(_EXAMPLE) for part in paragraphs if part.startswith(_EXAMPLE)]
    sections: dict[str, list[Row]] = {}
    for parameter in command.get_params(context):
        if not parameter.hidden:
            sections.setdefault(_section_of(parameter), []).append(_row(parameter))
    if hasattr(command, "purposes"):
        sections = {"Commands": [Row(*row) for row in command.purposes(context)], **sections}
    ordered = sorted(sections.items(), key=lambda section: _ORDER.index(section[0]))
    said = [part for part in paragraphs if part and not part.startswith(_EXAMPLE)]
    return Page(context.command_path, usage, said, ordered, examples)


def help_text(page: Page, width: int, heading: Callable[[str], str]) -> str:
    """The page as text, wrapped to `width` columns (20 to 100). `heading` may colour a heading."""
    width = min(max(width, 20), _WIDEST)
    lines = [*_folded(f"Usage: {page.usage}", width, "", " " * 7), ""]
    for paragraph in page.paragraphs:
        lines += [*_folded(paragraph, width, "", ""), ""]
    for name, rows in page.sections:
        lines += [heading(name + ":"), *_section(rows, width), ""]
    if page.examples:
        lines += [
            heading("Examples:"),
            *(line for text in page.examples for line in _folded(text, width, "  ", "    ")),
        ]
    return "\n".join(lines).rstrip() + "\n"


def _section(rows: list[Row], width: int) -> list[str]:
    column = min(max((len(row.names) for row in rows), default=0), 28) + 4
    lines = []
    for row in rows:
        if width < _NARROW or len(row.names) > column - 4:
            indent = " " * (6 if width < _NARROW else column)
            lines += _folded(row.names, width, "  ", "    ")
            lines += _folded(row.purpose, width, indent, indent)
        else:
            lines += _folded(row.purpose or " ", width, f"  {row.names}".ljust(column), " " * column)
    return [line.rstrip() for line in lines]


def _folded(text: str, width: int, first: str, rest: str) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)


def _section_of(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return "Arguments"
    return next((_SECTION_OF[name] for name in parameter.opts if name in _SECTION_OF), "Options")


def _row(parameter: Any) -> Row:
    if parameter.param_type_name == "argument":
        return Row(parameter.make_metavar(None).strip("[]{}"), parameter.help or "")
    short_first = sorted(parameter.opts, key=lambda name: name.startswith("--"))
    names = ", ".join(short_first) + "".join(f"/{name}" for name in parameter.secondary_opts)
    if not (parameter.is_flag or parameter.count):
        names += f" {_metavar(parameter)}"
    purpose = parameter.help or ""
    if parameter.required:
        purpose += " Required."
    elif isinstance(parameter.default, int) and not (parameter.is_flag or parameter.count):
        purpose += f" Default: {parameter.default}."
    return Row(names, purpose)


def _metavar(parameter: Any) -> str:
    choices = getattr(parameter.type, "choices", ())
    if parameter.metavar or choices:
        return str(parameter.metavar or "|".join(str(getattr(choice, "value", choice)) for choice in choices))
    taken = next((_TAKES[name] for name in parameter.opts if name in _TAKES), None)
    kind = parameter.type.name
    return taken or ("N" if "int" in kind else "FILE" if kind in ("path", "file") else "TEXT")

"""The command line's shape: groups and commands that explain themselves in plain text, quickly and at any width."""

import inspect
import textwrap
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from arkcli.cli.words import did_you_mean
from arkcli.errors import Interrupted, UsageError

Function = TypeVar("Function", bound=Callable[..., Any])

_SETTINGS: Final = {"help_option_names": ["--help", "-h"]}
#: What every command takes. Before a command's name these mean the same as behind it.
EVERYWHERE: Final = frozenset(("--json", "--quiet", "-q"))
_WITH_A_VALUE: Final = frozenset(("--color",))
_EXAMPLE: Final = "Example: "
_OPTIONS: Final = "Options"
#: Below this width an option's text stands under its name, not beside it.
_NARROW: Final = 60
_WIDEST: Final = 100


class Row(NamedTuple):
    """An argument, an option or a command, and what it is for."""

    names: str
    purpose: str


class Page(NamedTuple):
    """All there is to say about a command."""

    path: str
    usage: str
    paragraphs: list[str]
    sections: list[tuple[str, list[Row]]]
    examples: list[str]


def page_of(context: Any) -> Page:
    """What the help and the manual say of a context's command. `context` is Click's."""
    command = context.command
    usage = " ".join((context.command_path, *command.collect_usage_pieces(context))).replace("{", "").replace("}", "")
    paragraphs = [part.replace("\n", " ") for part in inspect.cleandoc(command.help or "").split("\n\n")]
    examples = [part.removeprefix(_EXAMPLE) for part in paragraphs if part.startswith(_EXAMPLE)]
    sections: dict[str, list[Row]] = {}
    for parameter in command.get_params(context):
        if not parameter.hidden:
            is_option = parameter.param_type_name == "option"
            place = parameter.rich_help_panel or _OPTIONS if is_option else "Arguments"
            sections.setdefault(place, []).append(_row(parameter))
    if isinstance(command, Group):
        sections = {"Commands": [Row(*row) for row in command.purposes(context)], **sections}
    ordered = sorted(sections.items(), key=lambda section: _PLACES.get(section[0], 2))
    said = [part for part in paragraphs if part and not part.startswith(_EXAMPLE)]
    return Page(context.command_path, usage, said, ordered, examples)


_PLACES: Final = {"Commands": 0, "Arguments": 1, "Output": 3}


def help_text(page: Page, width: int, heading: Callable[[str], str]) -> str:
    """The page as text, no line wider than so many columns. `heading` may colour a heading."""
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
    elif isinstance(parameter.default, int) and not parameter.is_flag:
        purpose += f" Default: {parameter.default}."
    return Row(names, purpose)


def _metavar(parameter: Any) -> str:
    choices = getattr(parameter.type, "choices", ())
    if parameter.metavar or choices:
        return str(parameter.metavar or "|".join(str(getattr(choice, "value", choice)) for choice in choices))
    kind = parameter.type.name
    return "N" if "int" in kind else "FILE" if kind in ("path", "file") else "TEXT"


class _Explained:
    """A command whose `--help` is `help_text`, on the standard output of the run's environment."""

    _help_option: Any = None

    def get_help(self, context: Any) -> str:
        """The help text, as wide as the terminal."""
        output = context.find_root().obj.output(as_json=False, quiet=False)
        return help_text(page_of(context), output.width, output.heading)

    def get_help_option(self, context: Any) -> Any:
        """Typer's own option, with where it writes to replaced."""
        option = super().get_help_option(context)  # type: ignore[misc] # a mixin of Click's commands
        if option is not None:
            option.callback = _show_help
            option.help = "Show this."
            option.rich_help_panel = "Output"
        return option


def _show_help(context: Any, _option: Any, value: bool) -> None:
    if value and not context.resilient_parsing:
        context.find_root().obj.stdout.write(context.get_help())
        context.exit()


class Command(_Explained, TyperCommand):
    """A command."""

    def invoke(self, ctx: Any) -> Any:
        """Click's, but Ctrl-C raises Interrupted, so that it is told like any other error."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted("interrupted") from None


class Group(_Explained, TyperGroup):
    """A command that has commands of its own."""

    def purposes(self, context: Any) -> list[tuple[str, str]]:
        """Each of its commands with what it is for, in one line."""
        return [(name, purpose_of(self.get_command(context, name))) for name in self.list_commands(context)]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Click's, but what every command takes may also stand before the command's name."""
        args = _carried(list(args))
        knows = {name for parameter in self.params for name in parameter.opts}
        if ctx.resilient_parsing:
            args = [word for word in args if word not in EVERYWHERE - knows]
        elif args and set(args) <= EVERYWHERE - knows:
            known = ", ".join(f"`{ctx.command_path} {name}`" for name in self.list_commands(ctx))
            raise UsageError(f"say which: {known}")
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Click's, but a word that is no command raises UsageError with the one that was perhaps meant."""
        known = self.list_commands(ctx)
        if not ctx.resilient_parsing and args and not args[0].startswith("-") and args[0] not in known:
            near, path = did_you_mean(args[0], known), ctx.command_path
            raise UsageError(f"there is no command '{path} {args[0]}'{near}; `{path} --help` shows all")
        return super().resolve_command(ctx, args)


def _carried(args: list[str]) -> list[str]:
    """The words with `--json`, `--quiet` and `-q` moved from before a command's name to behind it."""
    before: list[str] = []
    carried: list[str] = []
    left = iter(args)
    for word in left:
        if word in EVERYWHERE:
            carried.append(word)
        elif not word.startswith("-"):
            return [*before, word, *carried, *left]
        else:
            before.append(word)
            if word in _WITH_A_VALUE:
                before += [value for value in [next(left, None)] if value is not None]
    return [*before, *carried]


def purpose_of(command: Any) -> str:
    """What a command is for, in one line: the first sentence of its help."""
    return inspect.cleandoc(command.help or "").split("\n\n")[0].replace("\n", " ").partition(". ")[0].rstrip(".")


class App(typer.Typer):
    """A group's or a command's module as Typer sees it, with the classes above."""

    def __init__(self, help: str | None = None, *, cls: type[Group] = Group, alone: bool = False) -> None:
        """`help` is a group's purpose. `alone`: the group does something without a command, too."""
        super().__init__(
            cls=cls,
            help=help,
            invoke_without_command=alone,
            no_args_is_help=help is not None and not alone,
            add_completion=False,
            context_settings=_SETTINGS,
            pretty_exceptions_enable=False,
            rich_markup_mode=None,
        )

    def command(self, name: str | None = None, **options: Any) -> Callable[[Function], Function]:
        """Typer's, for `Command`."""
        return super().command(name, cls=Command, context_settings=_SETTINGS, **options)

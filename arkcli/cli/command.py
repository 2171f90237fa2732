"""Base classes of all commands and groups: help, unknown commands, and the options that every command has."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.models import Default

from arkcli.cli.synonyms import command_hint
from arkcli.errors import Interrupted, UsageError

Function = TypeVar("Function", bound=Callable[..., Any])

_SETTINGS: Final = {"help_option_names": ["--help", "-h"]}
#: Options of every command. They may be given before the command's name, too.
EVERYWHERE: Final = frozenset(("--json", "--quiet", "-q"))
_WITH_A_VALUE: Final = frozenset(("--color",))


class _Explained:
    """A command whose `--help` prints `help_text` on the session's standard output."""

    _help_option: Any = None

    def get_help(self, context: Any) -> str:
        """The help text, wrapped to the terminal's width."""
        from arkcli.cli.help import help_text, page_of

        screen = context.find_root().obj.output().screen
        return help_text(page_of(context), screen.width, partial(screen.painted, style="bold"))

    def get_help_option(self, context: Any) -> Any:
        """Typer's own option, but it prints to the session's standard output."""
        option = super().get_help_option(context)  # type: ignore[misc] # a mixin of Click's commands
        if option is not None:
            option.callback = _show_help
            option.help = "Show this help."
        return option


def _show_help(context: Any, _option: Any, value: bool) -> None:
    if value and not context.resilient_parsing:
        context.find_root().obj.stdout.write(context.get_help())
        context.exit()


def _shown(context: Any, returned: Any) -> Any:
    """Prints a returned Printout and returns its exit status; returns anything else unchanged."""
    from arkcli.cli.printout import Printout, show

    return show(context.find_root().obj.output(), returned) if isinstance(returned, Printout) else returned


def _set_on_run(context: Any, option: Any, value: bool) -> None:
    setattr(context.find_root().obj, option.name, value)


def _of_every_command() -> list[TyperOption]:
    """`--json` and `--quiet`, which set the session's `as_json` and `quiet`."""
    told = (
        (["as_json", "--json"], "Print JSON, errors included."),
        (["quiet", "--quiet", "-q"], "Print problems only."),
    )
    return [
        TyperOption(param_decls=names, is_flag=True, default=False, help=text, expose_value=False, callback=_set_on_run)
        for names, text in told
    ]


class Command(_Explained, TyperCommand):
    """A command."""

    def __init__(self, *args: Any, params: Sequence[Any] = (), **options: Any) -> None:
        """Click's, with the options of every command added."""
        super().__init__(*args, params=[*params, *_of_every_command()], **options)

    def invoke(self, ctx: Any) -> Any:
        """Click's, but Ctrl-C raises Interrupted, so that it is reported like any other error."""
        ctx.obj.purpose = ctx.command_path
        try:
            return _shown(ctx, super().invoke(ctx))
        except KeyboardInterrupt:
            raise Interrupted("interrupted") from None


class Group(_Explained, TyperGroup):
    """A command with subcommands."""

    def __init__(self, *args: Any, params: Sequence[Any] = (), **options: Any) -> None:
        """Click's; a group that runs without a command also gets the options of every command."""
        own = _of_every_command() if options.get("invoke_without_command") else []
        super().__init__(*args, params=[*params, *own], **options)

    def invoke(self, ctx: Any) -> Any:
        """Click's, and prints the group's own Printout."""
        return _shown(ctx, super().invoke(ctx))

    def purposes(self, context: Any) -> list[tuple[str, str]]:
        """Each command's name and one-line purpose."""
        return [(name, purpose_of(self.get_command(context, name))) for name in self.list_commands(context)]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Click's, but the options of every command may come before the command's name, too."""
        args = _carried(list(args))
        knows = {name for parameter in self.params for name in parameter.opts}
        if ctx.resilient_parsing:
            args = [word for word in args if word not in EVERYWHERE - knows]
        elif args and set(args) <= EVERYWHERE - knows:
            known = ", ".join(f"`{ctx.command_path} {name}`" for name in self.list_commands(ctx))
            raise UsageError(f"choose a command: {known}")
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Click's, but an unknown command raises UsageError with the nearest known one."""
        known = self.list_commands(ctx)
        if not ctx.resilient_parsing and args and not args[0].startswith("-") and args[0] not in known:
            path = ctx.command_path
            near = command_hint(path, args[0], known)
            raise UsageError(f"there is no command '{path} {args[0]}'{near} `{path} --help` lists all commands")
        return super().resolve_command(ctx, args)


def _carried(args: list[str]) -> list[str]:
    """The arguments with `--json`, `--quiet` and `-q` moved behind the command's name."""
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
    """A command's one-line purpose: the first sentence of its help."""
    from arkcli.cli.help import words_of

    return words_of(command).split("\n\n")[0].replace("\n", " ").partition(". ")[0].rstrip(".")


class App(typer.Typer):
    """Typer's application object for one module, using the classes above."""

    def __init__(self, help: str | None = None, *, cls: type[Group] = Group, alone: bool = False) -> None:
        """`help` is a group's purpose. `alone`: the group also runs without a command; its callback has the help."""
        super().__init__(
            cls=cls,
            help=Default(None) if alone else help,
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

"""`ark completion`, and the completions for the scripts that it prints."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, Literal

import typer

from arkcli.cli.command import App
from arkcli.cli.printout import Printout
from arkcli.cli.session import Session

app = App()


#: The files in completions/. They run `ark` itself, which answers with `candidates`.
_SCRIPTS: Final = {"bash": "ark.bash", "zsh": "_ark", "fish": "ark.fish", "powershell": "ark.ps1"}


@app.command()
def completion(
    shell: Annotated[
        Literal["bash", "zsh", "fish", "powershell"],
        typer.Argument(metavar="SHELL", help="The shell: bash, zsh, fish or powershell."),
    ],
) -> Printout:
    """Print the completion script for a shell.

    Example: ark completion bash > ~/.local/share/bash-completion/completions/ark
    """
    from importlib.resources import files

    package = files("arkcli")
    kept = package / "completions"
    # In a checkout the scripts are beside the package, not in it.
    text = (
        ((kept if kept.is_dir() else package / ".." / "completions") / _SCRIPTS[shell]).read_text("utf-8").rstrip("\n")
    )
    return Printout({"shell": shell, "script": text}, [text], always=True)


def candidates(root: Any, session: Session, before: Sequence[str], begun: str) -> Iterator[tuple[str, str]]:
    """Completions of the word `begun`, typed after the words `before`: (value, description).

    An empty value means: complete a file name. `root` is Click's command for `ark`.
    """
    from typer._click.exceptions import ClickException
    from typer._click.shell_completion import _resolve_context, _resolve_incomplete

    from arkcli.errors import ArkError

    words = list(before)
    try:
        context = _resolve_context(root, {"obj": session}, "ark", words)
        asked, begun = _resolve_incomplete(context, words, begun)
        found = asked.shell_complete(context, begun)
    except (ClickException, ArkError, OSError):
        # The line is unfinished, so an error would only get in the user's way.
        return
    if getattr(getattr(asked, "type", None), "name", "") in ("path", "file"):
        yield "", ""
    for item in found:
        yield str(item.value), " ".join((item.help or "").split())

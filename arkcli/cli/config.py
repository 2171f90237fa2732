"""`ark config`: the paths of ark's files, and every setting with its source."""

import typer

from arkcli.actions import settings
from arkcli.cli.command import App
from arkcli.cli.options import session_of
from arkcli.cli.printout import Printout
from arkcli.output.tables import Table

app = App("Show the paths of ark's files, and its settings.")


@app.command()
def path(context: typer.Context) -> Printout:
    """Print the paths of ark's files.

    Example: ark config path
    """
    found = settings.paths(session_of(context).home)
    return Printout(found, [Table(("what", "where"), list(found.items()))])


@app.command()
def show(context: typer.Context) -> Printout:
    """Print every setting and its source: an option, the environment, a file or the default.

    Example: ark config show
    """
    session = session_of(context)
    found = settings.every(session.home, session.color)
    rows: list[tuple[object, ...]] = [*found]
    if session.output().on_a_terminal:
        # Its directory is in the first row, and a line has no room for it twice.
        store = session.home.store
        # Nor has it for the URL of the database.
        short: dict[object, str] = {store.name: "the database", str(store.path): store.path.name}
        rows = [(*row[:-1], short.get(row[-1], row[-1])) for row in rows]
    return Printout(
        {"settings": [one._asdict() for one in found]},
        [Table(("setting", "value", "from"), rows)],
    )

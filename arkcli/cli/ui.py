"""`ark ui`."""

import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from arkcli.cli.command import App
from arkcli.cli.options import session_of
from arkcli.errors import ExitCode

if TYPE_CHECKING:
    from arkcli.cli.session import Session
    from arkcli.output import Output
    from arkcli.web.running import Page

app = App()


@app.command()
def ui(
    context: typer.Context,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="The port of the page; 0 picks a free one.")
    ] = 0,
    host: Annotated[str, typer.Option("--host", help="The address of this machine to listen on.")] = "127.0.0.1",
    no_open: Annotated[bool, typer.Option("--no-open", help="Print the address; open no browser.")] = False,
) -> ExitCode:
    """Open a page in the browser: destinations, what fails and why, dead letters, and the story of each event.

    The page adds destinations, sends samples, and pauses, pings, retries, replays and discards. The first line is its
    address, with a token for this run. Only this machine can reach it, unless --host names another address. It delivers
    what you click; `ark drain` or `ark serve` makes the retries.

    Exit status: 0 stopped by SIGTERM, 130 by Ctrl-C.

    Example: ark ui
    """
    from arkcli.httpd.server import listen_on, reaches_others
    from arkcli.web.running import Running, console_page

    session = session_of(context)
    output = session.output()
    session.home.store.read()
    with ExitStack() as stack:
        listeners = [stack.enter_context(one) for one in listen_on(host, port)]
        page = console_page(session.new_home, listeners, output.warn, host)
        running = Running(page, output.warn)
        session.process.stop_on_signals(running.stop)
        output.result({"ui": page.address}, f"the page is at {page.address}", always=True)
        if reaches_others(listeners):
            output.warn(f"listening on {host}: other machines can reach this page, and read along: it is plain http")
        if not no_open:
            opened(session, output, page)
        output.note("stop with Ctrl-C")
        running.run()
    return ExitCode.INTERRUPTED if session.process.stop_signal == signal.SIGINT else ExitCode.DONE


def opened(session: "Session", output: "Output", page: "Page") -> None:
    """Opens a page in the user's browser, if there is a screen."""
    from arkcli.system.browser import open_page

    is_opening = open_page(page.address_once(), session.variables)
    output.note("opening the page in your browser" if is_opening else "open the address of the page in a browser")

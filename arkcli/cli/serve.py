"""`ark serve`."""

import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arkcli.cli.command import App
from arkcli.cli.options import Concurrency, PerDestination, session_of
from arkcli.errors import ExitCode

if TYPE_CHECKING:
    from arkcli.cli.session import Session
    from arkcli.web.running import Page

app = App()


@app.command()
def serve(
    context: typer.Context,
    socket: Annotated[
        Path | None, typer.Option("--socket", metavar="PATH", help="Take events on a Unix socket at this path.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="Take events on this port of 127.0.0.1; 0 picks a free one."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="The bearer token for --port; made if missing. Default: serve.token beside destinations.toml.",
        ),
    ] = None,
    ui: Annotated[
        bool, typer.Option("--ui", help="Serve the page of `ark ui`, too, on a free port of 127.0.0.1.")
    ] = False,
    concurrency: Concurrency = 64,
    per_destination: PerDestination = 8,
) -> ExitCode:
    """Keep running: deliver events as they fall due, and take events over HTTP.

    POST /events/EVENT with the payload as the body answers 202 once the event is durable. The header Idempotency-Key
    makes it safe to repeat. GET /healthz, /metrics and /openapi.json tell the rest. Without --socket and --port it only
    delivers.

    Exit status: 0 stopped by SIGTERM, 130 by Ctrl-C; 78 an event came after `ark queue move`: start it again.

    Example: ark serve --socket /run/ark/ark.sock

    Example: ark serve --port 8764
    """
    from arkcli.actions.serve import Running, Ways
    from arkcli.actions.serve import serve as run

    session = session_of(context)
    session.is_service = True
    output = session.output()

    def ready(addresses: list[str]) -> None:
        shown = {} if page is None else {"ui": page.address}
        lines = [*(f"listening on {one}" for one in addresses), *(f"the page is at {one}" for one in shown.values())]
        output.result({"listening": addresses, **shown}, *lines, always=True)
        if not addresses:
            output.note("delivering; it takes no events over HTTP without --socket or --port")

    drain = ["drain", "--watch", "--until-eof", *(["--json"] if output.as_json else [])]
    drain += ["--concurrency", str(concurrency), "--per-destination", str(per_destination)]
    running, ways = Running(session.new_home, session.process, output.log_warning), Ways(socket, port, token_file)
    with ExitStack() as stack:
        page = _page(session, stack) if ui else None
        run(running, ways, drain, ready, () if page is None else [page.entrance])
    return ExitCode.INTERRUPTED if session.process.stop_signal == signal.SIGINT else ExitCode.DONE


def _page(session: "Session", stack: ExitStack) -> "Page":
    """The page of `ark ui`, until the end of the stack."""
    from arkcli.httpd.server import listen_on
    from arkcli.web.running import console_page

    listeners = [stack.enter_context(one) for one in listen_on("127.0.0.1", 0)]
    page = console_page(session.new_home, listeners, session.output().log_warning, "localhost")
    stack.callback(page.close)
    return page

"""`ark listen`."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from arkcli.actions import destinations
from arkcli.cli.command import App
from arkcli.cli.options import (
    SecretFile,
    SecretText,
    find_secrets,
    output_of,
    parse_seconds,
    session_of,
)
from arkcli.cli.records import made_secret_note
from arkcli.cli.session import Session
from arkcli.errors import ExitCode, UsageError
from arkcli.output import to_json
from arkcli.output.tables import Column
from arkcli.system import files
from arkcli.system.streams import Unread
from arkcli.text import counted

if TYPE_CHECKING:
    from arkcli.output import Rows
    from arkcli.receiver.forward import Forwarder
    from arkcli.receiver.plan import Answer
    from arkcli.receiver.receiver import Report, Totals
    from arkcli.receiver.record import Received
    from arkcli.signing import Secret

app = App()
#: A host with a port or a path, and nothing before it: neither a scheme nor a user name.
_HOST_FIRST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s/:?#@\[\]]+)(:\d+)?([/?]\S*)?")

#: Interval between checks for a changed secret, in seconds.
_LOOK_EVERY = 0.25

_COLUMNS = (
    Column("time (UTC)", 12),
    Column("event", 20),
    Column("verdict", 7),
    Column("bytes", 7, right=True),
    Column("answer", 7),
    Column("remarks"),
)


@app.command()
def listen(
    context: typer.Context,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="The port to listen on; 0 picks a free one.")
    ] = 8765,
    host: Annotated[str, typer.Option("--host", help="The address of this machine to listen on.")] = "127.0.0.1",
    respond: Annotated[
        str | None,
        typer.Option("--respond", metavar="STATUS", help="Answer with this status, such as 503. Default: 200."),
    ] = None,
    plan: Annotated[
        str | None, typer.Option("--plan", help="Answer these in turn and repeat the last: 503x2,timeout,reset,200.")
    ] = None,
    delay: Annotated[
        str | None, typer.Option("--delay", metavar="DURATION", help="Wait this long before answering.")
    ] = None,
    forward_to: Annotated[
        str | None,
        typer.Option(
            "--forward-to",
            metavar="URL",
            help="Forward verified requests to this URL (or port, on this machine), and return its answers.",
        ),
    ] = None,
    forward_ca_file: Annotated[
        Path | None, typer.Option("--forward-ca-file", help="CA certificates (PEM) to trust for --forward-to.")
    ] = None,
    forward_unverified: Annotated[
        bool, typer.Option("--forward-unverified", help="Also forward requests that fail verification.")
    ] = False,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Append each request with its body to FILE as JSON.")
    ] = None,
    count: Annotated[int | None, typer.Option("--count", min=1, help="Stop after N requests.")] = None,
    timeout: Annotated[
        str | None,
        typer.Option(
            "--timeout", metavar="DURATION", help="Stop after this time; exit 1 if fewer than --count requests came."
        ),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also show the bodies.")] = False,
    secret: SecretText = None,
    secret_file: SecretFile = None,
) -> ExitCode:
    """Receive webhooks on this machine, check each signature and answer. With --json, one object per line.

    An invalid signature gets 401; a body above 1 MiB gets 413. The secret comes from --secret (repeat it to accept
    several), --secret-file or ARK_SECRET; otherwise it is the one in destinations.toml, created if there is none.

    Exit status: 0 --count requests came; 1 fewer came within --timeout; 130 interrupted.

    Example: ark listen --forward-to http://127.0.0.1:3000/webhook
    """
    from arkcli.httpd.server import listen_on, reaches_others, url_of
    from arkcli.receiver.receiver import Orders, Receiver

    session = session_of(context)
    output = output_of(context)
    forward_to = forward_to and _whole(forward_to)
    _refuse_contradictions(respond, plan, forward_to, forward_ca_file, forward_unverified=forward_unverified)
    orders = Orders(
        secrets=_follow_secrets(session, secret, secret_file, output.warn, output.note),
        plan=_plan("--plan", plan) if plan is not None else _plan("--respond", respond or "200"),
        delay=0.0 if delay is None else parse_seconds(delay, "--delay"),
        forwarder=_forwarder(session, forward_to, forward_ca_file),
        forward_unverified=forward_unverified,
        count=count,
        timeout=None if timeout is None else parse_seconds(timeout, "--timeout"),
    )
    rows = output.rows(_COLUMNS)
    report = _reports(rows, None if save is None else _kept(save), verbose=verbose)
    receiver = Receiver(orders, session.home.clock, report, output.note)
    with ExitStack() as stack:
        listeners = [stack.enter_context(listener) for listener in listen_on(host, port)]
        session.process.stop_on_signals(receiver.stop, at_hangup=save is None)
        url, *others = map(url_of, listeners)
        output.result({"listening": url}, f"listening on {url}", always=True)
        if others:
            output.note(f"listening on {', '.join(others)}, too")
        if rows.drawn:
            # 0.0.0.0 and :: can be listened on but not connected to.
            url = url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
            output.note(f"send events here with `ark dest add {url} --allow-local`; stop with Ctrl-C")
        if reaches_others(listeners):
            output.warn(f"listening on {host}: other machines can reach this receiver")
        receiver.run(listeners)
    output.note(_summary(receiver.totals))
    if not receiver.has_enough and session.process.stopping():
        return ExitCode.INTERRUPTED
    if receiver.has_enough or count is None:
        return ExitCode.DONE
    output.warn(f"only {receiver.totals.requests} of {count} requests came within {timeout}")
    return ExitCode.FAILED


def _follow_secrets(
    session: Session,
    texts: list[str] | None,
    file: Path | None,
    warn: Callable[[str], None],
    note: Callable[[str], None],
) -> "Callable[[], list[Secret]]":
    """Returns a function that returns the current secrets. Raises what `find_secrets` raises; that function does not.

    Makes the shared secret if there is none to use.
    """
    from arkcli.signing.secrets import SecretFiles
    from arkcli.system.followed import Followed

    files = SecretFiles(session.home.clock.monotonic, warn)
    is_stored = not texts and file is None and "ARK_SECRET" not in session.variables
    if is_stored and destinations.ensure_secret(session.home):
        note(made_secret_note(session.home.store.path))

    def find() -> "list[Secret]":
        found = find_secrets(session, texts, file, files.read)
        files.forget_others()
        return found

    def stamp() -> object:
        return files.look(), is_stored and session.home.store.stamp()

    followed = Followed(stamp, find, session.home.clock.monotonic, warn, every=_LOOK_EVERY)
    followed.now()
    return followed.now


def _summary(totals: "Totals") -> str:
    requests = counted(totals.requests, "request")
    return f"{requests}: {totals.valid} valid, {totals.requests - totals.valid} invalid, {totals.repeated} repeated"


def _refuse_contradictions(
    respond: str | None, plan: str | None, forward_to: str | None, ca_file: Path | None, *, forward_unverified: bool
) -> None:
    if respond is not None and plan is not None:
        raise UsageError("--respond and --plan both choose the answer; give only one")
    if forward_to is not None and (respond is not None or plan is not None):
        raise UsageError("with --forward-to the application answers; leave out --respond and --plan")
    if forward_to is None and (forward_unverified or ca_file is not None):
        raise UsageError(f"--forward-{'unverified' if forward_unverified else 'ca-file'} goes with --forward-to")
    if ca_file is not None and forward_to is not None and forward_to.lower().startswith("http:"):
        raise UsageError("--forward-ca-file is for https, and --forward-to is an http URL; leave it out")


def _plan(option: str, text: str) -> "Iterator[Answer]":
    from arkcli.receiver.plan import parse

    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def _forwarder(session: Session, url: str | None, ca_file: Path | None) -> "Forwarder | None":
    if url is None:
        return None
    from arkcli.receiver.forward import Forwarder
    from arkcli.wire.trust import ca_bundle

    return Forwarder(url, str(ca_file or ca_bundle(session.variables)))


def _whole(url: str) -> str:
    """The URL that a port alone, or `host:port/path` without a scheme, is short for; anything else unchanged."""
    if url.isascii() and url.isdigit():
        return f"http://127.0.0.1:{url}/"
    return f"http://{url}" if _HOST_FIRST.fullmatch(url) else url


def _kept(path: Path) -> files.LineFile:
    try:
        return files.LineFile(path)
    except OSError as error:
        raise UsageError(f"--save: {path} cannot be written: {error.strerror}") from None


def _reports(rows: "Rows", kept: files.LineFile | None, *, verbose: bool) -> "Report":
    """Returns a function that saves each request, then prints it."""
    from arkcli.receiver import record

    # With --save, continue even if standard output is closed.
    going_on = () if kept is None else (Unread,)

    def report(received: "Received") -> None:
        if kept is not None:
            kept.append(to_json(record.saved(received)).encode())
        document = record.document(received)
        at = document["at"]
        cells = (
            at[11:-1] if rows.drawn else at,
            received.event,
            "valid" if received.verdict.valid else "invalid",
            received.size,
            received.answer or None,
            "; ".join(_remarks(received)),
        )
        more = None
        if verbose:
            document |= record.body_of(received)
            more = (received.request.body or b"").decode("utf-8", "backslashreplace")
        with suppress(*going_on):
            rows.add(document, cells, more)

    return report


def _remarks(received: "Received") -> Iterator[str]:
    if received.verdict.reason is not None:
        yield received.verdict.reason
    if received.explanation is not None:
        yield received.explanation
    if received.before:
        attempt = f"attempt {received.attempt}" if received.attempt else f"time {received.before + 1}"
        yield f"repeated: {attempt} of {received.delivery}"
    if received.error is not None:
        yield received.error

"""`ark listen`."""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from arkcli.cli.command import App
from arkcli.cli.options import SecretFile, SecretText, check_event, complete_event, parse_seconds, session_of
from arkcli.cli.session import Session
from arkcli.errors import ExitCode, UsageError
from arkcli.output import to_json
from arkcli.system import files
from arkcli.system.streams import Unread
from arkcli.text import counted

if TYPE_CHECKING:
    from arkcli.cli.desk import Desk
    from arkcli.cli.received import Listing
    from arkcli.output import Output
    from arkcli.receiver.forward import Forwarder
    from arkcli.receiver.plan import Answer
    from arkcli.receiver.receiver import Orders, Receiver, Report, Totals
    from arkcli.receiver.record import Received
    from arkcli.web.inspector import Inspector
    from arkcli.web.running import Page

app = App()
#: A host with a port or a path, and nothing before it: neither a scheme nor a user name.
_HOST_FIRST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s/:?#@\[\]]+)(:\d+)?([/?]\S*)?")


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
    event: Annotated[
        list[str] | None,
        typer.Option(
            "--event",
            help="Only this event; others get 200 (or 401) and are not shown, saved, forwarded or counted. Repeatable.",
            autocompletion=complete_event,
        ),
    ] = None,
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose", "-v", count=True, help="Also show headers and bodies, JSON indented; -vv: byte for byte."
        ),
    ] = 0,
    ui: Annotated[
        bool, typer.Option("--ui", help="Show them on a page in the browser, too; the keys have buttons there.")
    ] = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="With --ui: print its address; open no browser.")] = False,
    secret: SecretText = None,
    secret_file: SecretFile = None,
) -> ExitCode:
    """Receive webhooks on this machine, check each signature and answer. With --json, one object per line.

    An invalid signature gets 401; a body above 1 MiB gets 413. The secret comes from --secret (repeat it to accept
    several), --secret-file or ARK_SECRET; otherwise it is the one in destinations.toml, created if there is none.
    A secret that is changed is in force within a second.

    On a terminal, keys send a request to the application again, edit and sign it again, show its details, copy it as
    a curl command, change the next answers, and filter. The key ? lists them.

    Exit status: 0 --count requests came; 1 fewer came within --timeout; 130 interrupted.

    Example: ark listen --forward-to http://127.0.0.1:3000/webhook
    """
    from arkcli.cli.accepted import AcceptedSecrets
    from arkcli.cli.received import Listing
    from arkcli.cli.ui import opened
    from arkcli.httpd.server import listen_on, reaches_others, url_of
    from arkcli.receiver.receiver import Orders, Receiver

    session = session_of(context)
    output = session.output()
    forward_to = forward_to and _whole(forward_to)
    _refuse_contradictions(respond, plan, forward_to, forward_ca_file, forward_unverified=forward_unverified)
    for name in event or ():
        check_event(name)
    listing = Listing(output, forwarding=forward_to is not None, verbose=verbose)
    desk = _desk(session, output, listing)
    said = desk or output
    secrets = AcceptedSecrets(session, secret, secret_file, said.warn, said.note)
    orders = Orders(
        secrets=secrets.now,
        before=secrets.before,
        events=frozenset(event or ()),
        plan=_plan("--plan", plan) if plan is not None else _plan("--respond", respond or "200"),
        delay=0.0 if delay is None else parse_seconds(delay, "--delay"),
        forwarder=_forwarder(session, forward_to, forward_ca_file),
        forward_unverified=forward_unverified,
        count=count,
        timeout=None if timeout is None else parse_seconds(timeout, "--timeout"),
    )
    doing, answers = _answers(orders, plan or respond or "200")
    inspector = _inspector(session, orders, answers) if ui else None
    report = _report(listing, desk, None if save is None else _kept(save), inspector)
    receiver = Receiver(orders, session.home.clock, report, said.note)
    with ExitStack() as stack:
        listeners = [stack.enter_context(listener) for listener in listen_on(host, port)]
        session.process.stop_on_signals(receiver.stop, at_hangup=save is None)
        # 0.0.0.0 and :: can be listened on but not connected to.
        url = url_of(listeners[0]).replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
        _refuse_itself(orders.forwarder, [url, *map(url_of, listeners)])
        copier = _copier(orders, url, forward_ca_file)
        page = None if inspector is None else _page(session, inspector, stack, said.warn)
        _tell_where(output, [url_of(one) for one in listeners], page)
        output.note(f"checking signatures with the secret from {secrets.source}")
        output.note(f"{doing}, after {delay}" if delay else doing)
        if event:
            output.note(f"showing only {', '.join(event)}; others are answered, but not shown or forwarded")
        if listing.drawn:
            output.note(f"send events here with `ark dest add {url} --allow-local`")
            output.note("press ? for the keys; stop with Ctrl-C" if desk is not None else "stop with Ctrl-C")
        if reaches_others(listeners):
            output.warn(f"listening on {host}: other machines can reach this receiver")
        if desk is not None:
            stack.callback(desk.close)
            desk.begin(receiver, orders, answers, copier)
        if inspector is not None:
            inspector.begin(receiver, copier)
        if page is not None and not no_open:
            opened(session, output, page)
        receiver.run(listeners, desk, () if page is None else [page.entrance])
    output.note(_summary(receiver.totals))
    return _ended(output, receiver, count, timeout, stopped=session.process.stopping())


def _ended(
    output: "Output", receiver: "Receiver", count: int | None, timeout: str | None, *, stopped: bool
) -> ExitCode:
    """The exit status; says so if too few requests came."""
    if not receiver.has_enough and stopped:
        return ExitCode.INTERRUPTED
    if receiver.has_enough or count is None:
        return ExitCode.DONE
    within = "" if timeout is None else f" within {timeout}"
    output.warn(f"{receiver.totals.requests} of {count} requests came{within}")
    return ExitCode.FAILED


def _tell_where(output: "Output", urls: Sequence[str], page: "Page | None") -> None:
    url, *others = urls
    lines = [f"listening on {url}", *([f"the page is at {page.address}"] if page else [])]
    output.result({"listening": url, **({"ui": page.address} if page else {})}, *lines, always=True)
    if others:
        output.note(f"listening on {', '.join(others)}, too")


def _inspector(session: Session, orders: "Orders", answers: str) -> "Inspector":
    from arkcli.web.inspector import Inspector

    return Inspector(orders, session.home.clock.now, answers)


def _page(session: Session, inspector: "Inspector", stack: ExitStack, warn: Callable[[str], None]) -> "Page":
    """The page that shows what comes, on a port of its own, until the end of the stack."""
    from arkcli.httpd.server import listen_on
    from arkcli.web.running import inspector_page

    listeners = [stack.enter_context(one) for one in listen_on("127.0.0.1", 0)]
    page = inspector_page(inspector, listeners, session.home, warn)
    stack.callback(page.close)
    return page


def _desk(session: Session, output: "Output", listing: "Listing") -> "Desk | None":
    """The keys, if somebody can press them and see what happens."""
    if not (listing.drawn and session.stdin.isatty()):
        return None
    from arkcli.cli.desk import Desk
    from arkcli.system.terminal import Keyboard

    return Desk(session, output, listing, Keyboard(session.stdin.fileno()))


def _report(
    listing: "Listing", desk: "Desk | None", kept: files.LineFile | None, inspector: "Inspector | None"
) -> "Report":
    """Returns a function that saves each request that came, then shows it."""
    from arkcli.receiver import record

    # With --save or --ui, continue even if standard output is closed.
    going_on = () if kept is None and inspector is None else (Unread,)
    numbers = itertools.count(1)

    def report(received: "Received") -> None:
        if kept is not None and received.again is None:
            kept.append(to_json(record.saved(received)).encode())
        if inspector is not None:
            inspector.add(received)
        with suppress(*going_on):
            if desk is not None:
                desk.show(received)
            else:
                listing.add(next(numbers), received)

    return report


def _answers(orders: "Orders", plan: str) -> tuple[str, str]:
    """What is done with valid requests, and what they are answered, in words."""
    if orders.forwarder is not None:
        which = "all requests" if orders.forward_unverified else "valid requests"
        return f"forwarding {which} to {orders.forwarder.url} and returning its answers", "what the application answers"
    repeating = "; the last answer repeats" if "," in plan else ""
    return f"answering {plan}{repeating}", f"{plan}, as planned"


def _copier(orders: "Orders", url: str, ca_file: Path | None) -> "Callable[[int, Received], str]":
    """Returns a function that makes a curl command of a request: to the application, or to this receiver."""
    from arkcli.actions.requests import as_curl

    def copy(number: int, received: "Received") -> str:
        to = orders.forwarder.url if orders.forwarder is not None else url + received.request.target
        return as_curl(number, received, to, None if ca_file is None else str(ca_file))

    return copy


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


def _refuse_itself(forwarder: "Forwarder | None", urls: Sequence[str]) -> None:
    """Raises UsageError if the receiver at these URLs would forward each request to itself, without end."""
    to = "" if forwarder is None else f"{forwarder.url.replace('//localhost:', '//127.0.0.1:')}/"
    if any(to.startswith(f"{url}/") for url in urls):
        raise UsageError("--forward-to is this receiver itself; give your application's URL, or choose another --port")


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

"""`ark check`."""

import textwrap
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from arkcli.actions import destinations
from arkcli.actions.destinations import Wanted
from arkcli.cli.command import App
from arkcli.cli.options import (
    AllowLocal,
    CaFile,
    Headers,
    SecretFile,
    StandardWebhooks,
    Yes,
    ask,
    check_event,
    complete_event,
    find_secrets,
    session_of,
)
from arkcli.cli.printout import Printout
from arkcli.contract.headers import parse_headers
from arkcli.errors import ExitCode
from arkcli.output import Output
from arkcli.output.tables import Column, Table
from arkcli.url import parse_url

if TYPE_CHECKING:
    from arkcli.actions.check import Finding
    from arkcli.model import Destination

app = App()

_COLUMNS: Final = (
    Column("check", 14),
    Column("result", 6),
    Column("answer", 9),
    Column("wanted", 6),
    Column("sent"),
)
#: Narrower terminals have no room for the last column.
_WIDE: Final = 76
#: How much of a receiver's answer is shown, in characters.
_SAID: Final = 200


@app.command()
def check(
    context: typer.Context,
    url: Annotated[str, typer.Argument(metavar="URL", help="The receiver's URL: https, at a public address.")],
    event: Annotated[
        str,
        typer.Option("--event", help="Send events of this type.", autocompletion=complete_event, callback=check_event),
    ] = "signal.promoted",
    allow_local: AllowLocal = False,
    secret_file: SecretFile = None,
    header: Headers = None,
    ca_file: CaFile = None,
    standard_webhooks: StandardWebhooks = False,
    yes: Yes = False,
) -> Printout:
    """Check that a receiver takes genuine events and refuses forged ones. It must answer 2xx to six requests, such as
    an event in UTF-8 or of 256 KiB, and 4xx to six that are forged, such as one signed with another secret. With
    --standard-webhooks it must also refuse a wrong webhook-signature and an old webhook-timestamp.

    The requests are sent one by one; nothing is stored. The receiver will process the genuine ones, so this asks first
    if the address is not a local one. The secret comes from --secret-file or ARK_SECRET; otherwise it is the one in
    destinations.toml.

    Exit status: 0 all checks passed, 1 at least one failed or the receiver could not be reached, 2 bad input.

    Example: ark check http://127.0.0.1:3000/webhook --allow-local
    """
    from arkcli.actions import check as actions

    session = session_of(context)
    output = session.output()
    wanted = Wanted(
        url=url,
        allow_local=allow_local,
        headers=parse_headers(header or []),
        ca_file=ca_file,
        standard_webhooks=standard_webhooks,
    )
    destination = destinations.unsaved(session.home, wanted)
    secret = find_secrets(session, None, secret_file)[0]
    if not (yes or _is_local(destination)):
        question = f"{destination.url} is not a local address: its receiver will process test events. Send them?"
        ask(session, question, "nothing was sent")
    rows = _Rows(output)
    found = []
    for finding in actions.check(session.home, destination, event, secret):
        found.append(finding)
        rows.add(finding)
    passed = sum(finding.passed for finding in found)
    text: list[str | Table] = [f"{passed} of {len(found)} passed"]
    if output.quiet:
        failed = [(*_cells(finding), " ".join(_lines(finding))) for finding in found if not finding.passed]
        text.insert(0, Table((*(column.heading for column in _COLUMNS), "what to do"), failed))
    document = {"checks": [_json(finding) for finding in found]}
    return Printout(document, text, status=ExitCode.DONE if passed == len(found) else ExitCode.FAILED)


def _is_local(destination: "Destination") -> bool:
    """Whether the URL itself names a loopback or private address. What a name resolves to does not count."""
    from arkcli.wire import guard

    addresses = parse_url(destination.url, allow_local=destination.allow_local).addresses
    without, with_it = ([guard.refusal(one, allow_local=allow) for one in addresses] for allow in (False, True))
    return bool(addresses) and all(without) and not any(with_it)


class _Rows:
    """Prints each check as soon as it has been made: what to do is the last cell, on a terminal lines below the row."""

    def __init__(self, output: Output) -> None:
        self._output = output
        narrow = output.on_a_terminal and output.screen.width < _WIDE
        self._rows = output.rows(_COLUMNS[:-1] if narrow else _COLUMNS)
        self._said: set[str] = set()

    def add(self, finding: "Finding") -> None:
        # The exit status is the verdict, so go on if nobody reads the rows.
        if self._output.as_json or self._output.lost is not None:
            return
        # A receiver says the same about most of what it refuses.
        lines = _lines(finding, said=finding.answer.excerpt not in self._said)
        self._said.add(finding.answer.excerpt)
        if self._rows.drawn:
            width = max(self._output.screen.width - 2, 20)
            lines = [textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False) for line in lines]
        self._rows.add({}, _cells(finding)[: len(self._rows.columns)], "\n".join(lines) or None)


def _cells(finding: "Finding") -> tuple[object, ...]:
    result = "pass" if finding.passed else "fail"
    answer = finding.answer.status or "none"
    return finding.trial.name, result, answer, finding.trial.wanted, finding.trial.sent


def _lines(finding: "Finding", *, said: bool = True) -> list[str]:
    """What to do about a wrong answer; before it, why there was none and, with `said`, what the receiver said."""
    if finding.passed:
        return []
    answer = finding.answer
    excerpt = " ".join(answer.excerpt.split())
    shown = excerpt if len(excerpt) <= _SAID else f"{excerpt[:_SAID]}…"
    return [
        *([f"It failed: {answer.error}."] if answer.status is None else []),
        *([f"It said: {shown}"] if shown and said else []),
        f"{finding.advice}.",
    ]


def _json(finding: "Finding") -> dict[str, Any]:
    unanswered = {"error": finding.answer.error} if finding.answer.status is None else {}
    return {
        "name": finding.trial.name,
        "sent": finding.trial.sent,
        "wanted": finding.trial.wanted,
        "status": finding.answer.status,
        "passed": finding.passed,
        "advice": finding.advice,
        "excerpt": finding.answer.excerpt,
        **unanswered,
    }

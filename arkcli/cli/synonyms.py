"""The words that other tools use, and what `ark` calls the same thing: for the hint after an unknown word."""

from collections.abc import Iterable
from typing import Final

#: By group of commands: what to run for a command that `ark` does not have.
_COMMANDS: Final = {
    "ark": {
        **dict.fromkeys(("status", "stats", "pending", "backlog"), "ark queue"),
        **dict.fromkeys(("retry", "redrive"), "ark queue retry"),
        **dict.fromkeys(("resend", "redeliver"), "ark replay"),
        **dict.fromkeys(("trigger", "emit", "publish", "post", "fire"), "ark send"),
        **dict.fromkeys(("add", "subscribe", "create"), "ark dest add"),
        **dict.fromkeys(("list", "ls", "destinations", "endpoints"), "ark dest list"),
        **dict.fromkeys(("purge", "drop"), "ark queue drop"),
        **dict.fromkeys(("forward", "receive", "tunnel"), "ark listen"),
        **dict.fromkeys(("logs", "history", "tail"), "ark log"),
        **dict.fromkeys(("work", "worker", "run", "deliver"), "ark drain"),
        **dict.fromkeys(("get", "info", "describe", "inspect"), "ark queue show"),
        **dict.fromkeys(("update", "edit"), "ark dest set"),
        "enable": "ark dest resume",
        "disable": "ark dest pause",
        **dict.fromkeys(("rm", "remove", "delete"), "ark dest remove"),
        **dict.fromkeys(("rotate", "secrets"), "ark secret rotate"),
        **dict.fromkeys(("init", "setup"), "ark dest add"),
        "test": "ark ping",
        "health": "ark doctor",
        "conformance": "ark check",
        "settings": "ark config show",
    },
    "ark dest": {
        **dict.fromkeys(("rm", "delete", "del", "unsubscribe"), "ark dest remove"),
        **dict.fromkeys(("update", "edit", "change", "rename", "modify"), "ark dest set"),
        **dict.fromkeys(("test", "check", "ping"), "ark ping"),
        **dict.fromkeys(("disable", "stop", "mute"), "ark dest pause"),
        **dict.fromkeys(("enable", "start", "unpause"), "ark dest resume"),
        **dict.fromkeys(("create", "new", "register"), "ark dest add"),
        **dict.fromkeys(("get", "info", "describe", "status"), "ark dest show"),
        "ls": "ark dest list",
    },
    "ark secret": {
        **dict.fromkeys(("get", "print", "reveal", "list"), "ark secret show --reveal"),
        **dict.fromkeys(("new", "generate", "create", "roll"), "ark secret rotate"),
        **dict.fromkeys(("update", "add"), "ark secret set"),
    },
    "ark queue": {
        **dict.fromkeys(("purge", "clear", "rm", "remove", "delete", "discard"), "ark queue drop"),
        **dict.fromkeys(("resend", "redrive", "requeue", "revive"), "ark queue retry"),
        **dict.fromkeys(("get", "info", "inspect", "describe"), "ark queue show"),
        **dict.fromkeys(("edit", "copy"), "ark send"),
        **dict.fromkeys(("verify", "fsck", "repair"), "ark queue check"),
        "ls": "ark queue list",
        "drain": "ark drain",
        "status": "ark queue",
    },
    "ark events": {
        **dict.fromkeys(("list", "ls", "types"), "ark events"),
        **dict.fromkeys(("example", "payload", "show"), "ark events sample"),
    },
}
#: What to give in place of an option that a command does not have: the first of these that it has.
_OPTIONS: Final[dict[str, str | tuple[str, ...]]] = {
    **dict.fromkeys(("--dest", "--destination", "--endpoint", "--target"), "--to NAME"),
    **dict.fromkeys(("--data", "--body", "--payload", "--file", "--input"), "FILE, or standard input"),
    **dict.fromkeys(("--limit", "--lines", "--tail", "--max", "--number"), ("-n N", "--count N")),
    **dict.fromkeys(("--failed", "--errors", "--failing"), ("--outcome failed", "--failing", "--state retrying")),
    **dict.fromkeys(("--idempotency-key", "--key"), "--id KEY"),
    **dict.fromkeys(("--force", "--no-confirm"), "--yes"),
    **dict.fromkeys(("--dead", "--status"), ("--state dead", "--failed")),
    **dict.fromkeys(("--output", "--format"), "--json"),
    **dict.fromkeys(("--type", "--event-type", "--event"), ("--event EVENT", "EVENT, before FILE")),
    **dict.fromkeys(("--from", "--copy", "--template"), "--like EVENT_ID"),
    **dict.fromkeys(("--jsonl", "--batch", "--bulk"), "--ndjson"),
    **dict.fromkeys(("--silent",), "--quiet"),
    **dict.fromkeys(("--follow", "--daemon"), "--watch"),
    **dict.fromkeys(("--parallel", "--workers", "--jobs"), "--concurrency N"),
    **dict.fromkeys(("--test", "--preview"), "--dry-run"),
    **dict.fromkeys(("--cacert", "--ca"), ("--ca-file FILE", "--forward-ca-file FILE")),
    **dict.fromkeys(("--insecure", "--no-verify"), "--ca-file FILE"),
    **dict.fromkeys(("--all",), "--all-dead"),
}
#: An option that says what a command does anyway; the option without which it does; and what to say.
_ALREADY: Final = {"--once": ("--watch", "Leave it out: without --watch the command runs once.")}
#: From which likeness (0 to 1) a name counts as near, which may be short; and a command or an option: below that,
#: unrelated options are near one another.
_NAMES: Final = 0.6
_WORDS: Final = 0.75


def command_hint(group: str, word: str, known: Iterable[str]) -> str:
    """The end of a sentence: `. Did you mean …?` for a command that a group does not have, or `.` if none is near."""
    meant = _COMMANDS.get(group, {}).get(word)
    return f". Did you mean `{meant}`?" if meant else _hint(_nearest(word, known, _WORDS))


def option_hint(option: str, known: Iterable[str]) -> str:
    """The same for an option that a command does not have.

    `known` are the options of the command, and its arguments in capitals. A synonym that it does not have is not named.
    """
    names = frozenset(known)
    without, said = _ALREADY.get(option, ("", ""))
    if without in names:
        return f". {said}"
    for meant in _synonyms(option):
        if meant.split()[0].rstrip(",") in names:
            return f". Did you mean {meant}?"
    long = {name.removeprefix("--"): name for name in names if name.startswith("--")}
    near = _nearest(option.lstrip("-"), long, _WORDS)
    return _hint(near and long[near])


def _synonyms(option: str) -> tuple[str, ...]:
    found = _OPTIONS.get(option, ())
    return (found,) if isinstance(found, str) else found


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The same for a name: if a known one is spelled nearly the same."""
    return _hint(_nearest(name, known, _NAMES))


def _hint(near: str | None) -> str:
    return f". Did you mean {near!r}?" if near else "."


def _nearest(word: str, known: Iterable[str], likeness: float) -> str | None:
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(known), n=1, cutoff=likeness)), None)

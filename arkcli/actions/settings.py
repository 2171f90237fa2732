"""Every setting, its value in this run, and the source of the value."""

from typing import Final, NamedTuple

from arkcli.actions.home import Home
from arkcli.delivery.places import Limits
from arkcli.errors import UsageError
from arkcli.signing import Secret
from arkcli.signing.secrets import reference
from arkcli.store.store import AlertSettings, QueueSettings, Workspace
from arkcli.system.paths import state_directory
from arkcli.url import shown_proxy

_DEFAULT: Final = "default"


class Setting(NamedTuple):
    """A setting. `source` is an option, `environment NAME`, a file, or `default`."""

    name: str
    value: str | int | None
    source: str


def every(home: Home, color: str) -> list[Setting]:
    """All settings, with secrets masked. `color` is the value of --color; auto if not given. Raises Unreadable."""
    from arkcli.wire.trust import ca_bundle

    contents, variables = home.store.read(), home.variables
    limits, proxy = Limits(), contents.network.proxy

    def from_environment(*names: str) -> str:
        return next((f"environment {name}" for name in names if variables.get(name)), _DEFAULT)

    return [
        Setting("config_dir", str(home.directory), from_environment("ARK_CONFIG_DIR")),
        Setting("state_dir", str(state_directory(variables)), from_environment("ARK_STATE_DIR")),
        *_database(home),
        _secret(home),
        *_signing(home),
        _stored(home, "workspace.overlap", contents.workspace.overlap, Workspace().overlap),
        Setting("ca_file", ca_bundle(variables), from_environment("SSL_CERT_FILE")),
        _stored(home, "network.proxy", None if proxy is None else shown_proxy(proxy.reveal().decode())),
        _stored(home, "queue.keep", contents.queue.keep, QueueSettings().keep),
        *_alerts(home),
        Setting("concurrency", limits.total, _DEFAULT),
        Setting("per_destination", limits.per_destination, _DEFAULT),
        Setting(
            "color",
            color,
            from_environment("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE") if color == "auto" else "--color",
        ),
    ]


def paths(home: Home) -> dict[str, str]:
    """Where ark keeps what, by name. Opens nothing. Raises Unreadable, and UsageError if a setting is wrong."""
    found = {
        "config_dir": str(home.directory),
        "store": str(home.directory / "destinations.toml"),
        "state_dir": str(state_directory(home.variables)),
    }
    if home.shared is None:
        return {**found, "queue": str(home.queue_directory)}
    database = home.shared.address.masked
    return {**found, "store": database, "queue": database}


def _database(home: Home) -> list[Setting]:
    """The database that several hosts share, and the key of the store in it."""
    if home.shared is None:
        return [Setting("queue.url", None, _DEFAULT)]
    key, source = home.shared.key, "environment ARK_QUEUE_KEY" if home.shared.key.given else _DEFAULT
    return [
        Setting("queue.url", home.shared.address.masked, home.shared.given.source),
        Setting("queue.key", key.place, source),
    ]


def _alerts(home: Home) -> list[Setting]:
    """Who is told of troubles. The arguments of the command may hold a secret."""
    found = home.store.read().alerts
    program, *arguments = (*found.words,) or (None,)
    return [
        _stored(home, "alerts.command", f"{program} …" if arguments else program),
        _stored(home, "alerts.after", found.failing_for, AlertSettings().failing_for),
        _stored(home, "alerts.auto_pause_after", found.auto_pause_after),
    ]


def _stored(home: Home, name: str, value: str | None, default: str | None = None) -> Setting:
    """A setting that only destinations.toml can have."""
    return Setting(name, value, _DEFAULT if value == default else home.store.name)


def _signing(home: Home) -> list[Setting]:
    """The secret that `ark sign` and `ark verify` use instead, if ARK_SECRET is set."""
    given = home.variables.get("ARK_SECRET")
    return [Setting("secret of sign and verify", str(Secret(given)), "environment ARK_SECRET")] if given else []


def _secret(home: Home) -> Setting:
    contents = home.store.read()
    stored = contents.workspace.secret
    if stored is None:
        return Setting("secret", None, _DEFAULT)
    file = home.store.name
    kind, _, rest = (reference(stored) or "").partition(":")
    source = {"env": f"environment {rest}", "file": f"{rest}, named in {file}"}.get(kind, file)
    try:
        return Setting("secret", str(home.workspace_secret(contents)), source)
    except UsageError:
        return Setting("secret", None, f"{source}, which cannot be read")

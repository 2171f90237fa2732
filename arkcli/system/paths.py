"""Where the files of this user are."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from arkcli.errors import Unreadable


def config_directory(variables: Mapping[str, str]) -> Path:
    """The directory of destinations.toml: ARK_CONFIG_DIR, else ~/.config/ark or as XDG says. Raises Unreadable."""
    return _directory(variables, "ARK_CONFIG_DIR", "XDG_CONFIG_HOME", "user_config_path")


def state_directory(variables: Mapping[str, str]) -> Path:
    """The directory that holds the queue: ARK_STATE_DIR, else ~/.local/state/ark or as XDG says. Raises Unreadable."""
    return _directory(variables, "ARK_STATE_DIR", "XDG_STATE_HOME", "user_state_path")


def elsewhere(variables: Mapping[str, str]) -> Path | None:
    """The directory where programs for macOS keep their files, if it exists: ark does not look there."""
    home = variables.get("HOME", "")
    found = Path(home, "Library", "Application Support", "ark")
    named = [variables.get(name, "") for name in ("ARK_CONFIG_DIR", "ARK_STATE_DIR")]
    return found if home.startswith("/") and found.is_dir() and str(found) not in named else None


def _directory(variables: Mapping[str, str], own: str, xdg: str, kind: str) -> Path:
    # A relative path would mean a different queue in each working directory.
    name = next((name for name in (own, xdg, "HOME") if variables.get(name)), "")
    if name and not variables[name].startswith("/"):
        raise Unreadable(f"{name} is {variables[name]!r}, which is not an absolute path; set {own} to one")
    if name == own:
        return Path(variables[own])
    # On macOS, too: its own convention has only one directory for both.
    from platformdirs.unix import Unix

    with contextlib.suppress(RuntimeError):
        return Path(getattr(Unix("ark"), kind))
    raise Unreadable("this user has no home directory; set ARK_CONFIG_DIR and ARK_STATE_DIR to absolute paths")

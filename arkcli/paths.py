"""Where the files of this user are."""

from collections.abc import Mapping
from pathlib import Path


def config_directory(variables: Mapping[str, str]) -> Path:
    """The directory of destinations.toml: ARK_CONFIG_DIR, else the platform's for this user."""
    if given := variables.get("ARK_CONFIG_DIR"):
        return Path(given)
    from platformdirs import user_config_path

    return user_config_path("ark")


def state_directory(variables: Mapping[str, str]) -> Path:
    """The directory that holds the queue: ARK_STATE_DIR, else the platform's for this user."""
    if given := variables.get("ARK_STATE_DIR"):
        return Path(given)
    from platformdirs import user_state_path

    return user_state_path("ark")

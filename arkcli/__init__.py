"""ark: send signed webhooks that are never lost.

`arkcli.open()` sends events from Python: docs/python.md. `arkcli.signing` signs and verifies.
"""

from arkcli.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arkcli import errors
    from arkcli.actions.documents import Drained, Queue, Sent, Story
    from arkcli.api import Ark, open

__all__ = ["Ark", "Drained", "Queue", "Sent", "Story", "__version__", "errors", "open"]


def __getattr__(name: str) -> object:
    """Imports the interface for applications when it is first used: commands do not need it."""
    if name not in __all__:
        raise AttributeError(f"module 'arkcli' has no attribute {name!r}")
    # Not with a statement: that would be an import upward, for every module that asks for the version.
    from importlib import import_module

    return import_module("arkcli.errors") if name == "errors" else getattr(import_module("arkcli.api"), name)

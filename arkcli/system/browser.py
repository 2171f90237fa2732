"""Opens a page in the user's browser."""

import threading
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import Final

#: Variables that say that there is a screen, or which browser to use.
_SCREENS: Final = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
#: What opens pages on macOS.
_SCRIPTS: Final = Path("/usr/bin/osascript")


def open_page(url: str, variables: Mapping[str, str]) -> bool:
    """Opens a URL in a browser, without waiting; returns whether there is a screen to open it on."""
    if not (any(variables.get(name) for name in _SCREENS) or _SCRIPTS.exists()):
        # A browser for terminals would take this one.
        return False
    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
    return True

"""Starts pytest once more, in a process (with children) that `sitecustomize` has made like one on macOS."""

import os
import sys
import tempfile
from pathlib import Path

from tests.darwin import lacking

if "AS_ON_MACOS" not in os.environ:
    # At the import already: anything else may have imported what macOS lacks.
    os.environ |= lacking.variables(Path(tempfile.mkdtemp(prefix="as-on-macos-")))
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

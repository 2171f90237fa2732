"""Runs the tests almost as if on macOS: `pytest -p tests.darwin.plugin`. `sitecustomize` says what that changes."""

"""The queue on disk: docs/internals.md describes it."""

"""The local engine: a queue in text files on this host. docs/internals.md describes every line."""

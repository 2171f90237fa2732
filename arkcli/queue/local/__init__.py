"""The queue on this host: files that anybody can read. docs/internals.md describes every line."""

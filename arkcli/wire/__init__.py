"""Sending requests: one to one destination, and many at once. docs/internals.md, section 10."""
